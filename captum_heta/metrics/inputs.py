"""From what a person passes to a metric to prompts without padding, their scores and their embeddings, all checked."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from captum_heta.checks import check_batch_size
from captum_heta.models import Batch, LanguageModel
from captum_heta.prompts import Prompt, broadcast, check_length, prompts


@dataclass(frozen=True, eq=False)
class ScoredPrompt:
    """One row of a batch, without its padding.

    Attributes:
        prompt: its tokens.
        embeds: (n, d), their embeddings.
        scores: (n,), magnitudes of their attributions, 0 for tokens that are not free; float64.
        free: (n,) bool, the tokens that may be masked.
    """

    prompt: Prompt
    embeds: Tensor
    scores: Tensor
    free: Tensor

    @cached_property
    def owners(self) -> Tensor:
        """(n,), the number of each token's feature, -1 for tokens that are not free; F features that have free ones."""
        found, count, free = [-1] * len(self.free), 0, self.free.tolist()
        for group in self.prompt.features.groups:
            mine = [token for token in group if free[token]]
            for token in mine:
                found[token] = count
            count += bool(mine)
        return torch.tensor(found, device=self.free.device)

    def of_features(self, scores: Tensor) -> Tensor:
        """Token scores (n,) to the means over each feature's free tokens, (F,)."""
        owners, count = self.owners[self.free], int(self.owners.max()) + 1
        sums = scores.new_zeros(count).index_add(0, owners, scores[self.free])
        return sums / torch.bincount(owners, minlength=count)


def language_model(model: Any) -> LanguageModel:
    """The view of a model.

    Raises:
        TypeError: if it does not predict the next token.
    """
    lm = LanguageModel(model)
    if not lm.generates:
        raise TypeError(
            f"{type(model).__name__} does not predict the next token, which this metric reads: load the model with "
            "AutoModelForCausalLM."
        )
    return lm


def scored_prompts(
    lm: LanguageModel,
    inputs: Any,
    attributions: Any,
    additional_forward_args: Any,
    fixed: Tensor | None,
    feature_mask: Any = None,
) -> list[ScoredPrompt]:
    """The rows of a batch.

    Args:
        lm: the model.
        inputs: (B, n) token ids.
        attributions: (B, n), what padding has is not read.
        additional_forward_args: as in `captum_heta.HETA.attribute`.
        fixed: bool that broadcasts to (B, n), tokens that are never masked; None for none.
        feature_mask: integers that broadcast to (B, n), equal for tokens that are masked together; None for each alone.

    Raises:
        ValueError: naming the argument that does not fit and what would.
    """
    rows = prompts(lm, inputs, additional_forward_args, feature_mask)
    if not isinstance(attributions, Tensor) or attributions.shape != inputs.shape:
        form = tuple(attributions.shape) if isinstance(attributions, Tensor) else type(attributions).__name__
        raise ValueError(f"attributions must be a tensor of the inputs' shape {tuple(inputs.shape)}, got {form}.")
    magnitudes = attributions.detach().to(inputs.device, torch.float64).abs()
    free = ~_like(fixed, inputs)
    found = []
    for i, row in enumerate(rows):
        check_length(lm, len(row.ids))
        scores = magnitudes[i, row.places]
        if not scores.isfinite().all():
            raise ValueError(f"attributions in row {i} are not all finite: the prompt's tokens cannot be ordered.")
        mine = free[i, row.places]
        found.append(ScoredPrompt(row, lm.embed(row.ids), scores * mine, mine))
    return found


def over_rows(
    of_row: Callable[[LanguageModel, int, ScoredPrompt, Batch], Tensor],
    model: Any,
    inputs: Tensor,
    attributions: Tensor,
    additional_forward_args: Any,
    fixed: Tensor | None,
    perturbations_per_eval: int | None,
    feature_mask: Any = None,
) -> Tensor:
    """A number for each row of a batch, (B,), while the model is locked and in eval mode.

    Args:
        of_row: from the model, the number of a row, the row, and how many copies of it go through the model at once.
        model: a causal language model.
        inputs: (B, n) token ids.
        attributions: (B, n).
        additional_forward_args: as in `scored_prompts`.
        fixed: as there.
        perturbations_per_eval: as in `batch_of`.
        feature_mask: as in `scored_prompts`.
    """
    lm = language_model(model)
    with lm.lock, lm.restored(), lm.evaluating():
        rows = scored_prompts(lm, inputs, attributions, additional_forward_args, fixed, feature_mask)
        batches = [batch_of(lm, len(row.embeds), perturbations_per_eval) for row in rows]
        return torch.stack(
            [of_row(lm, i, row, batch) for i, (row, batch) in enumerate(zip(rows, batches, strict=True))]
        )


def batch_of(lm: LanguageModel, length: int, size: int | None) -> Batch:
    """How many copies of a prompt of ``length`` tokens go through the model at once; None fits a memory budget.

    Raises:
        ValueError: if ``size`` is less than 1.
    """
    check_batch_size(size)
    return Batch(size or lm.batch_size(length, 1), chosen=size is not None)


def _like(fixed: Any, inputs: Tensor) -> Tensor:
    if fixed is None:
        return torch.zeros_like(inputs, dtype=torch.bool)
    if not isinstance(fixed, Tensor) or fixed.dtype != torch.bool:
        form = fixed.dtype if isinstance(fixed, Tensor) else type(fixed).__name__
        raise ValueError(f"fixed must be a bool tensor, True for tokens that are never masked, got {form}.")
    return broadcast("fixed", fixed, inputs)
