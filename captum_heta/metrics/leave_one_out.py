"""Whether attributions order the features as masking each of them alone does."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from captum_heta.metrics.agreement import spearman
from captum_heta.metrics.answers import Answers
from captum_heta.metrics.inputs import ScoredPrompt, over_rows
from captum_heta.models import Batch, LanguageModel
from captum_heta.prompts import Baselines


def loo_agreement(
    model: Any,
    inputs: Tensor,
    attributions: Tensor,
    *,
    target: int | Tensor | Sequence[int] | Sequence[Tensor] | Sequence[Sequence[int]] | None = None,
    baselines: Baselines = None,
    feature_mask: Tensor | None = None,
    additional_forward_args: Any = None,
    fixed: Tensor | None = None,
    perturbations_per_eval: int | None = None,
) -> Tensor:
    """Rank correlation of attributions with how far the answer's log-probability falls without each feature.

    Leave-one-out is what Captum's ``FeatureAblation`` computes, so its own agreement is 1. A feature that holds the
    answer together with another one that says the same has no fall of its own. One masked pass a feature.

    Args:
        model: a causal language model of Hugging Face transformers.
        inputs: (B, n) token ids.
        attributions: (B, n), with their signs, as falls have some too. The tokens of one feature have its score, or
            count by their mean.
        target: the answer's token ids, as in `insertion`.
        baselines: as there.
        feature_mask: as there.
        additional_forward_args: as there.
        fixed: bool that broadcasts to (B, n), True for tokens that are never masked, and not compared.
        perturbations_per_eval: masked copies in one pass; None fits them to a memory budget.

    Returns:
        (B,), Spearman's coefficient in [-1, 1], float64, ties sharing their mean rank; NaN where the attributions, or
        the falls, are all the same, as those of a single feature are.

    Raises:
        RuntimeError: if the model predicts NaN after a prompt.
        TypeError: if the model does not predict the next token.
        ValueError: for arguments that do not fit; the message says what would.
    """
    answers = Answers(inputs, target, baselines)

    def of_row(lm: LanguageModel, number: int, row: ScoredPrompt, batch: Batch) -> Tensor:
        answer = answers.of_row(lm, number, row, batch)
        signed = row.of_features(attributions.detach()[number].to(row.scores)[row.prompt.places])
        if len(signed) == 0:
            return row.scores.new_full((), math.nan)
        masks = row.owners == torch.arange(len(signed), device=row.owners.device)[:, None]
        # falls from the same number: their order is that of what is left
        return spearman(signed, -answer.log_probs(masks))

    rest = (additional_forward_args, fixed, perturbations_per_eval, feature_mask)
    return over_rows(of_row, model, inputs, attributions, *rest)
