"""Comprehensiveness and sufficiency of the most important tokens (DeYoung et al., ERASER, ACL 2020, arXiv 1911.03429).

Both are a difference of the target's probability, mean over several numbers of tokens. ERASER's own mean also counts
the choice of no token.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_heta.metrics.inputs import ScoredPrompt, batch_of, language_model, scored_prompts
from captum_heta.models import Batch, LanguageModel
from captum_heta.prompts import Baselines, baseline_embeddings, baselines_of_row, targets

RATIOS = (0.05, 0.1, 0.2, 0.5)


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
    falls = _Falls(lambda chosen, free: chosen, target, baselines, ratios)
    return falls.of(model, inputs, attributions, additional_forward_args, fixed, perturbations_per_eval)


def sufficiency(
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
    """How far the target's probability falls when only the most important tokens are left; smaller is better.

    Args:
        model: a causal language model of Hugging Face transformers.
        inputs: (B, n) token ids.
        attributions: (B, n).
        target: as in `comprehensiveness`.
        baselines: as there, for the tokens that are not left.
        ratios: as there.
        additional_forward_args: as there.
        fixed: as there; these tokens are left too.
        perturbations_per_eval: as there.

    Returns:
        (B,), the mean over ``ratios``, in [-1, 1].

    Raises:
        TypeError: if the model does not predict the next token.
        ValueError: for arguments that do not fit; the message says what would.
    """
    falls = _Falls(lambda chosen, free: free & ~chosen, target, baselines, ratios)
    return falls.of(model, inputs, attributions, additional_forward_args, fixed, perturbations_per_eval)


class _Falls:
    """The mean fall of the target's probability over masks.

    Args:
        masked: from the most important tokens (R, n) and those that may be masked (n,) to those that are (R, n).
        target: whose probability.
        baselines: what masks.
        ratios: R parts of the tokens.
    """

    def __init__(
        self, masked: Callable[[Tensor, Tensor], Tensor], target: Any, baselines: Baselines, ratios: Sequence[float]
    ) -> None:
        if len(ratios) == 0:
            raise ValueError("ratios is empty: give at least one part of the tokens, in (0, 1].")
        for ratio in ratios:
            if not 0 < ratio <= 1:
                raise ValueError(f"ratios are parts of the tokens and must be in (0, 1], got {ratio}.")
        self.masked, self.target, self.baselines, self.ratios = masked, target, baselines, ratios

    def of(
        self, model: Any, inputs: Tensor, attributions: Tensor, arguments: Any, fixed: Tensor | None, size: int | None
    ) -> Tensor:
        """(B,)."""
        lm = language_model(model)
        with lm.lock, lm.restored(), lm.evaluating():
            rows = scored_prompts(lm, inputs, attributions, arguments, fixed)
            found = []
            for i, (row, output) in enumerate(zip(rows, targets(lm, self.target, len(rows)), strict=True)):
                mine = baselines_of_row(self.baselines, inputs, i, row.prompt.places)
                replaced = baseline_embeddings(lm, row.embeds, mine)
                found.append(self._of_row(lm, row, output, replaced, batch_of(lm, len(row.embeds), size)))
        return torch.stack(found)

    def _of_row(
        self, lm: LanguageModel, row: ScoredPrompt, output: Tensor | None, replaced: Tensor, batch: Batch
    ) -> Tensor:
        positions = row.prompt.position_ids
        whole = lm.log_probs_of_embeddings(row.embeds[None], positions)
        output = whole.argmax(-1) if output is None else output

        def probabilities(masks: Tensor) -> Tensor:
            copies = torch.where(masks[..., None], replaced, row.embeds)
            return lm.log_probs_of_embeddings(copies, positions)[:, output].exp()

        left = torch.cat(batch.run(self.masked(_most_important(row, self.ratios), row.free), probabilities))
        return (whole[0, output].exp() - left).mean()


def _most_important(row: ScoredPrompt, ratios: Sequence[float]) -> Tensor:
    """The tokens with the largest scores, for each part of those that are free, (R, n) bool."""
    scores = torch.where(row.free, row.scores, -1)
    rank = scores.argsort(descending=True, stable=True).argsort()
    counts = [max(1, round(ratio * int(row.free.sum()))) for ratio in ratios]
    return (rank < torch.tensor(counts, device=rank.device)[:, None]) & row.free
