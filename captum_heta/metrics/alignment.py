"""Whether attributions fall on the tokens that are known to hold the answer.

Signed attributions count by magnitude. Features are in the last dimension; leading dimensions are examples.
"""

import torch
from torch import Tensor


def mass_on(attributions: Tensor, mask: Tensor) -> Tensor:
    """Share of the attribution on some features.

    Args:
        attributions: (..., F).
        mask: (..., F) bool, the features.

    Returns:
        (...), in [0, 1]; 0 where all attributions are 0.
    """
    mass = attributions.abs()
    return (mass * mask).sum(-1) / mass.sum(-1).clamp(min=torch.finfo(mass.dtype).tiny)


def dsa(attributions: Tensor, evidence: Tensor, distractors: Tensor) -> Tensor:
    """Share of the attribution on the evidence minus the share on the distractors (Pramanik et al. 2026, section 5).

    Args:
        attributions: (..., F).
        evidence: (..., F) bool, the features that hold the answer.
        distractors: (..., F) bool, those that only resemble it.

    Returns:
        (...), in [-1, 1]; 0 where all attributions are 0.
    """
    return mass_on(attributions, evidence) - mass_on(attributions, distractors)


def alignment_f1(attributions: Tensor, evidence: Tensor, threshold: float | None = None) -> Tensor:
    """F1 of the features with the largest attributions against the evidence.

    Args:
        attributions: (..., F).
        evidence: (..., F) bool, at least one True in each example.
        threshold: the features whose attribution is at least this part of the example's largest are taken, in (0, 1];
            none where all attributions are 0. None takes as many features as the evidence has, the earlier of equal
            ones; precision, recall and F1 are then the same number.

    Returns:
        (...), in [0, 1].

    Raises:
        ValueError: if ``threshold`` is not in (0, 1].
    """
    magnitudes = attributions.abs()
    if threshold is None:
        rank = magnitudes.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
        taken = rank < evidence.sum(-1, keepdim=True)
    elif 0 < threshold <= 1:
        taken = (magnitudes >= threshold * magnitudes.amax(-1, keepdim=True)) & (magnitudes > 0)
    else:
        raise ValueError(
            f"threshold is a part of the largest attribution and must be in (0, 1], got {threshold}. None takes as "
            "many features as the evidence has."
        )
    return 2 * (taken & evidence).sum(-1) / (taken.sum(-1) + evidence.sum(-1))
