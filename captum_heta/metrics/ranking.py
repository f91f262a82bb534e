"""Whether the features that hold the answer come first in the order of the attributions.

Only the order counts, so no sharpening of the scores changes a number. Signed attributions count by magnitude. Features
are in the last dimension; leading dimensions are examples. Where equal attributions leave the order open, a metric is
its mean over all orders that they allow (McSherry and Najork, ECIR 2008): attributions that are all the same have what
random ones have on average, wherever the evidence is.
"""

import math

import torch
from torch import Tensor

from captum_heta.checks import check_count


def average_precision(attributions: Tensor, evidence: Tensor, among: Tensor | None = None) -> Tensor:
    """Mean, over the features of the evidence, of the evidence's share among the features down to that one.

    1 if all evidence comes before all else; without ties what scikit-learn's ``average_precision_score`` gives. With
    random attributions, m features of evidence among F have about m / F + log(F) / F.

    Args:
        attributions: (..., F).
        evidence: (..., F) bool, the features that hold the answer.
        among: (..., F) bool, the features that are ranked, such as those of the passage; None ranks all.

    Returns:
        (...), in (0, 1], float64; NaN where no evidence is ranked.

    Raises:
        ValueError: if an attribution that is ranked is NaN.
    """
    evidence, starts, sizes, order = _ranked(attributions, evidence, among)
    places = torch.arange(evidence.shape[-1], device=evidence.device)
    hits = evidence.gather(-1, order).double()
    before = torch.nn.functional.pad(hits.cumsum(-1), (1, 0))  # of the evidence, by how many features are taken
    first, size = starts.gather(-1, order), sizes.gather(-1, order)
    above = before.gather(-1, first)
    tied = before.gather(-1, first + size) - above
    # that a place within a tie has evidence, times the evidence down to it when it has
    inside = (places - first) * (tied - 1) / (size - 1).clamp(min=1)
    terms = tied / size * (above + inside + 1) / (places + 1)
    return torch.where(tied > 0, terms, 0).sum(-1) / _count(evidence)


def recall_at(attributions: Tensor, evidence: Tensor, k: int | None = 5, among: Tensor | None = None) -> Tensor:
    """Share of the evidence that is among the ``k`` features with the largest attributions.

    Args:
        attributions: (..., F).
        evidence: (..., F) bool, the features that hold the answer.
        k: how many are taken; of m features of evidence it finds k / m at most. None takes as many as there is evidence
            (R-precision): but for ties, `alignment_f1` without a threshold.
        among: (..., F) bool, the features that are ranked; None ranks all.

    Returns:
        (...), in [0, 1], float64; NaN where no evidence is ranked.

    Raises:
        ValueError: if ``k`` is no whole number of at least 1, or an attribution that is ranked is NaN.
    """
    evidence, starts, sizes, _ = _ranked(attributions, evidence, among)
    taken = evidence.sum(-1, keepdim=True) if k is None else check_count("k", k)
    inside = ((taken - starts) / sizes.double()).clamp(0, 1)
    return (inside * evidence).sum(-1) / _count(evidence)


def top1_hit(attributions: Tensor, evidence: Tensor, among: Tensor | None = None) -> Tensor:
    """1 where the largest attribution is on the evidence, else 0; of several largest ones, the share that is.

    Args:
        attributions: (..., F).
        evidence: (..., F) bool, the features that hold the answer.
        among: (..., F) bool, the features that are ranked; None ranks all.

    Returns:
        (...), in [0, 1], float32; 0 where all attributions are 0, and where no evidence is ranked.

    Raises:
        ValueError: if an attribution that is ranked is NaN.
    """
    evidence, starts, sizes, _ = _ranked(attributions, evidence, among)
    found = ((starts == 0) & evidence & (attributions != 0)) / sizes
    return found.sum(-1).float()


def _ranked(attributions: Tensor, evidence: Tensor, among: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The evidence that is ranked, and of each feature how many are larger, how many as large, and their order.

    Features that are not ranked come last, behind those whose attribution is 0.
    """
    among = torch.ones_like(evidence) if among is None else among
    keys, evidence, among = torch.broadcast_tensors(-attributions.detach().double().abs(), evidence, among)
    if keys.isnan().logical_and(among).any():
        raise ValueError("attributions are NaN for some features, which cannot be ordered: leave them out with among.")
    keys = torch.where(among, keys, math.inf).contiguous()
    ordered, order = keys.sort(dim=-1)
    starts, stops = (torch.searchsorted(ordered, keys, right=right) for right in (False, True))
    return evidence & among, starts, stops - starts, order


def _count(evidence: Tensor) -> Tensor:
    count = evidence.sum(-1).double()
    return torch.where(count > 0, count, math.nan)
