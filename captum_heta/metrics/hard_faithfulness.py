"""Comprehensiveness and sufficiency of the most important tokens (DeYoung et al., ERASER, ACL 2020, arXiv 1911.03429).

Both are a difference of the target's probability, mean over several numbers of tokens. ERASER's own mean also counts
the choice of no token.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_heta.metrics.inputs import ScoredPrompt, over_rows
from captum_heta.models import Batch, LanguageModel
from captum_heta.prompts import Baselines, baseline_embeddings, baselines_of_row, targets
from captum_heta.signatures import taking_those_of

RATIOS = (0.05, 0.1, 0.2, 0.5)
_OF_FALLS = ("target", "baselines", "ratios")


def comprehensiveness(
    model: Any,
    inputs: Tensor,
    attributions: Tensor,
    *,
    target: int | Sequence[int] | Tensor | None = None,
    baselines: Baselines = None,
    ratios: Sequence[float] = RATIOS,
    additional_forward_args: Any = None,
    fixed: Tensor | None = None,
    perturbations_per_eval: int | None = None,
) -> Tensor:
    """How far the target's probability falls when the most important tokens are masked; larger is better.

    Args:
        model: a causal language model of Hugging Face transformers.
        inputs: (B, n) token ids.
        attributions: (B, n). Signed ones count by magnitude; of equal ones the earlier token comes first.
        target: the token id whose probability is read, one for all prompts or one a prompt. None reads the model's own
            most likely next token.
        baselines: what replaces a masked token's embedding: None or "zero" for zeros, "mean" for the mean of the
            prompt's embeddings, or token ids (an int, or a tensor that broadcasts to ``inputs``) for theirs.
        ratios: parts of the tokens that are not fixed, each in (0, 1]; rounded, but at least one token.
        additional_forward_args: the attention mask (B, n) for padded prompts, or a tuple of it and position ids, or a
            dictionary with these names. What padding is attributed is not read.
        fixed: bool that broadcasts to (B, n), True for tokens that are never masked.
        perturbations_per_eval: masked copies in one pass; None fits them to a memory budget.

    Returns:
        (B,), the mean over ``ratios``, in [-1, 1]; 0 for a prompt whose tokens are all fixed.

    Raises:
        TypeError: if the model does not predict the next token.
        ValueError: for arguments that do not fit; the message says what would.
    """
    falls = _Falls(lambda chosen, free: chosen, inputs, target, baselines, ratios)
    rest = (additional_forward_args, fixed, perturbations_per_eval)
    return over_rows(falls.of_row, model, inputs, attributions, *rest)


@taking_those_of(comprehensiveness)
def sufficiency(model: Any, inputs: Tensor, attributions: Tensor, **options: Any) -> Tensor:
    """How far the target's probability falls when only the most important tokens are left; smaller is better.

    Args:
        model: a causal language model of Hugging Face transformers.
        inputs: (B, n) token ids.
        attributions: (B, n).
        **options: as in `comprehensiveness`; ``baselines`` are for the tokens that are not left, and ``fixed`` ones are
            left too.

    Returns:
        (B,), the mean over ``ratios``, in [-1, 1].

    Raises:
        TypeError: if the model does not predict the next token.
        ValueError: for arguments that do not fit; the message says what would.
    """
    falls = _Falls(lambda chosen, free: free & ~chosen, inputs, *(options.pop(name) for name in _OF_FALLS))
    return over_rows(falls.of_row, model, inputs, attributions, **options)


class _Falls:
    """The mean fall of the target's probability over masks.

    Args:
        masked: from the most important tokens (R, n) and those that may be masked (n,) to those that are (R, n).
        inputs: (B, n), all prompts.
        target: whose probability.
        baselines: what masks.
        ratios: R parts of the tokens.
    """

    def __init__(
        self,
        masked: Callable[[Tensor, Tensor], Tensor],
        inputs: Tensor,
        target: Any,
        baselines: Baselines,
        ratios: Sequence[float],
    ) -> None:
        if len(ratios) == 0:
            raise ValueError("ratios is empty: give at least one part of the tokens, in (0, 1].")
        for ratio in ratios:
            if not 0 < ratio <= 1:
                raise ValueError(f"ratios are parts of the tokens and must be in (0, 1], got {ratio}.")
        self.masked, self.inputs, self.ratios = masked, inputs, ratios
        self.target, self.baselines = target, baselines

    def of_row(self, lm: LanguageModel, number: int, row: ScoredPrompt, batch: Batch) -> Tensor:
        """The mean fall of one prompt."""
        output = targets(lm, self.target, len(self.inputs))[number]
        mine = baselines_of_row(self.baselines, self.inputs, number, row.prompt.places)
        replaced = baseline_embeddings(lm, row.embeds, mine)
        positions = row.prompt.position_ids
        whole = lm.log_probs(row.embeds[None], positions)[:, 0]
        output = whole.argmax(-1) if output is None else output

        def probabilities(masks: Tensor) -> Tensor:
            copies = torch.where(masks[..., None], replaced, row.embeds)
            return lm.log_probs(copies, positions)[:, 0, output].exp()

        left = torch.cat(batch.run(self.masked(_most_important(row, self.ratios), row.free), probabilities))
        return (whole[0, output].exp() - left).mean()


def _most_important(row: ScoredPrompt, ratios: Sequence[float]) -> Tensor:
    """The tokens with the largest scores, for each part of those that are free, (R, n) bool."""
    scores = torch.where(row.free, row.scores, -1)
    rank = scores.argsort(descending=True, stable=True).argsort()
    counts = [max(1, round(ratio * int(row.free.sum()))) for ratio in ratios]
    return (rank < torch.tensor(counts, device=rank.device)[:, None]) & row.free
