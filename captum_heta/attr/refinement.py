"""Coarse to fine: the parts of a prompt first, and then what is in those that matter."""

import torch
from torch import Tensor

from captum_heta.attr.task import OutputAttributions, Scorer
from captum_heta.features import Features

# Tokens of the end, at least.
_END = 32


def refined(scorer: Scorer, features: Features, parts: Tensor, share: float) -> OutputAttributions:
    """Scores of features, of which only those of the parts that hold ``share`` of the whole score are looked at alone.

    Features of a part that stays whole have of it what the scorer makes of that. The end of the prompt, where its
    question and the cue for the answer are, is always looked into: masked passes there are the shortest.

    Args:
        scorer: the method, for any features.
        features: the F of the prompt.
        parts: (F,) integers, the same for those of one part.
        share: in [0, 1]; 1 looks into every part that has a score, 0 into none, nor at the end: features have parts of
            their part's score then, in the proportions that the scorer knows without a pass for each.
    """
    index = parts.unique(return_inverse=True)[1]
    whole = features.merged(index)
    coarse = scorer.score(whole)
    if share == 0:
        return _divided(coarse, scorer.spread(coarse, features, index.to(coarse.scores.device)), index)
    chosen = _holding(coarse.scores, share) | _at_the_end(whole)
    owners = torch.where(chosen[index], len(chosen) + torch.arange(len(index)), index)
    mixed = owners.unique(return_inverse=True)[1]
    fine = scorer.score(features.merged(mixed)) if chosen.any() else coarse
    about = dict(fine.about) | {"refined": f"{int(chosen.sum())} of {len(chosen)} parts"}
    return scorer.spread(fine, features, mixed.to(fine.scores.device))._replace(about=about)


def checked_parts(parts: Tensor, features: Features) -> Tensor:
    """The part of each feature, (F,).

    Raises:
        ValueError: for another shape.
    """
    parts = torch.as_tensor(parts, device="cpu")
    if parts.shape != (len(features),):
        raise ValueError(
            f"parts must have one integer for each of the {len(features)} features, got {tuple(parts.shape)}."
        )
    return parts


def _divided(coarse: OutputAttributions, fine: OutputAttributions, index: Tensor) -> OutputAttributions:
    """The scores of parts, divided among their features as those of ``fine`` are, or evenly where these have none."""
    index = index.to(coarse.scores.device)
    sizes = fine.scores.abs()
    totals = torch.zeros_like(coarse.scores).index_add(-1, index, sizes)[..., index]
    even = in_parts(torch.ones_like(coarse.scores), index)
    return fine._replace(
        scores=coarse.scores[..., index] * torch.where(totals > 0, sizes / totals.where(totals > 0, 1), even)
    )


def in_parts(values: Tensor, owners: Tensor) -> Tensor:
    """Values (..., C) of groups, in equal parts for their features, (..., F); owners (F,) say which group is whose."""
    return values[..., owners] / torch.bincount(owners)[owners]


def _at_the_end(parts: Features) -> Tensor:
    """(C,) bool, the parts among the last tokens that are explained: a tenth of them, and no fewer than `_END`."""
    tokens = sorted(token for group in parts.groups for token in group)
    count = min(len(tokens), max(_END, len(tokens) // 10))
    last = set(tokens[len(tokens) - count :])
    return torch.tensor([bool(group) and last.issuperset(group) for group in parts.groups])


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
