"""The factor of a product that costs most, found only where it can matter."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# Features of the first round at least; each later round takes half of those that are needed as things stand.
_FIRST = 8
_PART = 0.5
# As many of those looked at, with the smallest cheap factors, tell what those with smaller ones still may have. A third
# fewer read a tenth fewer tokens of long texts, but lost evidence that has small scores (0.01 of AP).
_LAST = 48


class Lazy(NamedTuple):
    """A factor of which some numbers were not needed.

    Attributes:
        values: (K, F); NaN where it was not looked at.
        bound: (K,), the largest share of a row's product that what was not looked at can have, if it is nowhere above
            `likely` of what was.
    """

    values: Tensor
    bound: Tensor


def lazily(
    cheap: Tensor,
    costly: Callable[[list[int]], Tensor],
    skip: float,
    costs: Sequence[float] = (),
    least: float = 0,
) -> Lazy:
    """A costly factor of products, in the order of falling cheap ones, until the rest cannot matter.

    That is when the sum of the cheap factors left, times what one of them is `likely` to have at most, is at most
    ``skip`` of the sum of products so far, in every row. Nothing is known of what is left but its cheap factors: a
    larger value among them is not found.

    Args:
        cheap: (K, F), non-negative.
        costly: from some of the F to their values, (K, some).
        skip: the share; 0 looks at every one.
        costs: of each of the F.
        least: as many of the first as cost so much together are looked at in any case. What holds a hundredth of the
            sum may still be worth its place in the order.
    """
    if cheap.shape[-1] == 0:
        return Lazy(cheap, cheap.new_zeros(len(cheap)))
    weights = cheap / cheap.amax(-1, keepdim=True).clamp(min=torch.finfo(cheap.dtype).tiny)
    weights = weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(cheap.dtype).tiny)
    order = weights.amax(0).argsort(descending=True, stable=True).tolist()
    values = torch.full_like(weights, torch.nan)
    spent = itertools.accumulate(costs[i] for i in order) if costs else ()
    first = len(order) if skip == 0 else max(_FIRST, sum(total <= least for total in spent))
    done = 0
    while done < len(order):
        count = first
        if done:
            needed = _needed(weights[:, order], values[:, order], done, skip)
            if needed == 0:
                break
            count = max(math.ceil(needed * _PART), min(needed, _FIRST // 2))
        some = order[done : done + count]
        values[:, some] = costly(some).to(values)
        done += len(some)
    left, reached = _state(weights[:, order], values[:, order], done)
    total = left + reached
    return Lazy(values, torch.where(total > 0, left / total.where(total > 0, 1), 0))


def likely(values: Tensor) -> Tensor:
    """The largest value to expect next of a row (K, n) in the order of falling cheap factors, (K,).

    That is the largest of the row's last 48, or the mean of the whole if that is more. One large value at its start,
    such as the answer's own, says little of the many that have a small cheap factor.
    """
    found = values.clamp(min=0)
    return found[:, -_LAST:].amax(-1).maximum(found.mean(-1))


def _state(weights: Tensor, values: Tensor, done: int) -> tuple[Tensor, Tensor]:
    """In each row, (K,): what the rest is likely to have at most, and the sum of products so far."""
    found = values[:, :done]
    return weights[:, done:].sum(-1) * likely(found), (weights[:, :done] * found.clamp(min=0)).sum(-1)


def _needed(weights: Tensor, values: Tensor, done: int, skip: float) -> int:
    """How many of those left would have to be looked at if they had nothing: in the row that needs most."""
    _, reached = _state(weights, values, done)
    # what is left after so many more
    rest = weights[:, done:].flip(-1).cumsum(-1).flip(-1)
    short = rest * likely(values[:, :done])[:, None] > skip * reached[:, None]
    # a row in which nothing was found yet may still find something anywhere
    short |= (reached == 0)[:, None] & (rest > 0)
    return int(short.sum(-1).max())
