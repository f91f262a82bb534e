"""How alike two attributions of the same features are. Features are in the last dimension."""

import torch
from torch import Tensor

from captum_heta.ranks import spearman

__all__ = ["spearman", "top_k_overlap"]


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
