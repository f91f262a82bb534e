"""How alike two attributions of the same features are. Features are in the last dimension."""

import torch
from torch import Tensor


def spearman(one: Tensor, other: Tensor) -> Tensor:
    """Correlation of the ranks, ties sharing their mean rank; (..., F) and (..., F) to (...).

    In [-1, 1]; NaN where all values of one of them are the same, which have no order.
    """
    ranks = [_ranks(values) for values in torch.broadcast_tensors(one, other)]
    a, b = (rank - rank.mean(-1, keepdim=True) for rank in ranks)
    return (a * b).sum(-1) / (a.square().sum(-1) * b.square().sum(-1)).sqrt()


def top_k_overlap(one: Tensor, other: Tensor, k: int) -> Tensor:
    """Share of the ``k`` largest features of one that are among those of the other; (..., F) and (..., F) to (...).

    Of equal values the earlier feature comes first.

    Raises:
        ValueError: if ``k`` is not from 1 to F.
    """
    if not 1 <= k <= one.shape[-1]:
        raise ValueError(f"k must be from 1 to the number of features, {one.shape[-1]}, got {k}.")
    largest = [
        torch.zeros(values.shape, dtype=torch.bool, device=values.device).scatter(
            -1, values.argsort(dim=-1, descending=True, stable=True)[..., :k], True
        )
        for values in torch.broadcast_tensors(one, other)
    ]
    return (largest[0] & largest[1]).sum(-1) / k


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 0 on, (..., F); equal values share the mean of theirs."""
    below = (values[..., None, :] < values[..., :, None]).sum(-1).double()
    equal = (values[..., None, :] == values[..., :, None]).sum(-1)
    return below + (equal - 1) / 2
