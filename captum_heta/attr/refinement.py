"""Coarse to fine: the parts of a prompt first, and then what is in those that matter."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from captum_heta.attr.heta_terms import GATES
from captum_heta.attr.task import OutputAttributions
from captum_heta.features import Features


def refined(
    scored: Callable[[Features], OutputAttributions], features: Features, parts: Tensor, share: float
) -> OutputAttributions:
    """Scores of features, of which only those of the parts that hold ``share`` of the whole score are looked at alone.

    A part that stays whole gives each of its features an equal share of its score: sums over features stay what they
    are. Of terms that is so for the gates; the others are the part's.

    Args:
        scored: the method, for any features.
        features: the F of the prompt.
        parts: (F,) integers, the same for those of one part.
        share: in (0, 1]; 1 looks into every part that has a score.
    """
    index = parts.unique(return_inverse=True)[1]
    coarse = scored(features.merged(index))
    chosen = _holding(coarse.scores, share)
    owners = torch.where(chosen[index], len(chosen) + torch.arange(len(index)), index)
    mixed = owners.unique(return_inverse=True)[1]
    fine = scored(features.merged(mixed)) if chosen.any() else coarse
    sizes = torch.bincount(mixed)[mixed]
    about = dict(fine.about) | {"refined": f"{int(chosen.sum())} of {len(chosen)} parts"}

    def spread(values: Tensor, whole: bool = False) -> Tensor:
        places, counts = mixed.to(values.device), sizes.to(values.device)
        return values[..., places] if whole else values[..., places] / counts

    return fine._replace(
        scores=spread(fine.scores),
        terms=None if fine.terms is None else _spread_terms(fine.terms, spread),
        errors=None if fine.errors is None else spread(fine.errors, True),
        about=about,
    )


def _holding(scores: Tensor, share: float) -> Tensor:
    """(C,) bool, the fewest parts that hold a share of what scores (K, C) are in size, as a mean over the outputs."""
    sizes = scores.abs().double().cpu()
    held = (sizes / sizes.sum(-1, keepdim=True).clamp(min=torch.finfo(sizes.dtype).tiny)).mean(0)
    order = held.argsort(descending=True, stable=True)
    before = held[order].cumsum(0) - held[order]
    chosen = torch.zeros(len(held), dtype=torch.bool)
    # up to rounding, or a part of nothing would be looked into to reach 1
    chosen[order] = (before < share * held.sum() * (1 - 1e-9)) & (held[order] > 0)
    return chosen


def _spread_terms(terms: Any, spread: Callable[..., Tensor]) -> Any:
    return type(terms)(*(spread(values, name not in GATES) for name, values in terms._asdict().items()))
