"""Correlation of ranks."""

import torch
from torch import Tensor


def spearman(one: Tensor, other: Tensor) -> Tensor:
    """Correlation of the ranks, ties sharing their mean rank; (..., F) and (..., F) to (...).

    In [-1, 1]; NaN where all values of one of them are the same, which have no order.
    """
    # ranked before they are broadcast, and multiplied as matrices: a table of R rows with each other ranks R rows, and
    # makes no R x R x F numbers
    a, b = (ranks - ranks.mean(-1, keepdim=True) for ranks in (_ranks(one), _ranks(other)))
    products = torch.einsum("...f,...f->...", a, b)
    return products / (a.square().sum(-1) * b.square().sum(-1)).sqrt()


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 0 on, (..., F); equal values share the mean of theirs."""
    values = values.contiguous()
    ordered = values.sort(dim=-1).values
    below, upto = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    return (below + upto - 1).double() / 2
