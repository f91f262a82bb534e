"""Whether attributions fall on the tokens that are known to hold the answer.

Signed attributions count by magnitude. Features are in the last dimension; leading dimensions are examples.
"""

import torch
from torch import Tensor


def dsa(attributions: Tensor, evidence: Tensor, distractors: Tensor) -> Tensor:
    """Share of the attribution on the evidence minus the share on the distractors (Pramanik et al. 2026, section 5).

    Args:
        attributions: (..., F).
        evidence: (..., F) bool, the features that hold the answer.
        distractors: (..., F) bool, those that only resemble it.

    Returns:
        (...), in [-1, 1]; 0 where all attributions are 0.
    """
    mass = attributions.abs()
    share = mass / mass.sum(-1, keepdim=True).clamp(min=torch.finfo(mass.dtype).tiny)
    return (share * evidence).sum(-1) - (share * distractors).sum(-1)


def alignment_f1(attributions: Tensor, evidence: Tensor) -> Tensor:
    """F1 of the features with the largest attributions, as many as the evidence has, against the evidence.

    Precision, recall and F1 are then the same number.

    Args:
        attributions: (..., F).
        evidence: (..., F) bool, at least one True in each example.

    Returns:
        (...), in [0, 1].
    """
    count = evidence.sum(-1, keepdim=True)
    rank = attributions.abs().argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    return ((rank < count) & evidence).sum(-1) / count[..., 0]


def top1_hit(attributions: Tensor, evidence: Tensor) -> Tensor:
    """1 where the largest attribution is on the evidence, else 0; (..., F) and (..., F) bool to (...)."""
    best = attributions.abs().argmax(-1, keepdim=True)
    return evidence.gather(-1, best)[..., 0].float()
