"""How much of a sum each of very many parts is, without making (queries, keys, d) numbers."""

from collections.abc import Iterator

import torch
from torch import Tensor

# Entries at a time; a part that goes beyond the sum in more than this share of the dimensions is looked at in all.
_ENTRIES = {"cpu": 2**20, "cuda": 2**25}
_MANY = 1 / 8


def proximity(y: Tensor, parts: Tensor) -> Tensor:
    """p(c) = max(0, norm1(y) - norm1(y - c)) by its definition, for parts (..., d) of sums y that broadcast, (...,)."""
    return (y.abs() - (y - parts).abs()).sum(-1).clamp(min=0)


class Proximity:
    """p(c) = max(0, norm1(y) - norm1(y - c)) for sums y and their parts c (Ferrando & Voita 2024, arXiv 2403.00824).

    In a dimension, |y| - |y - c| = c - 2 max(0, c - |y|) for c in the direction of y. Summed over dimensions, the first
    part is a product of matrices. The second is left out where it is 0: a part of many is small, so that only those
    dimensions can have some in which y is smaller than the part's largest number. With SmolLM2-135M about 1% can.

    Args:
        y: (Q, d).
    """

    def __init__(self, y: Tensor) -> None:
        self.signs = torch.where(y < 0, -1, 1).to(y)  # not 0 where y is: any part takes something away there
        self.sizes = y.abs()
        self.ascending, self.order = self.sizes.sort(-1)

    def of_own(self, parts: Tensor) -> Tensor:
        """The p of one part of each sum, (Q, d) to (Q,)."""
        along = parts * self.signs
        return (along - 2 * (along - self.sizes).clamp(min=0)).sum(-1).clamp(min=0)

    def of_scaled(self, weights: Tensor, vectors: Tensor) -> Tensor:
        """The p of the parts ``weights[t, i] vectors[i]`` of the sums t.

        Args:
            weights: (Q, S).
            vectors: (S, d).

        Returns:
            (Q, S), non-negative.
        """
        found = weights * (self.signs @ vectors.T)
        reach = weights.abs() * vectors.abs().amax(-1)
        counts = torch.searchsorted(self.ascending, reach)  # in so many dimensions, those of the smallest |y|
        many = counts > _MANY * self.sizes.shape[-1]
        for rows, keys in self._slabs(many, torch.full_like(counts, self.sizes.shape[-1])):
            along = weights[rows, keys, None] * vectors[keys] * self.signs[rows]
            found[rows, keys] -= 2 * (along - self.sizes[rows]).clamp(min=0).sum(-1)
        for rows, keys in self._slabs((counts > 0) & ~many, counts):
            found[rows, keys] -= 2 * self._beyond(rows, keys, counts[rows, keys], weights, vectors)
        return found.clamp(min=0)

    def _slabs(self, chosen: Tensor, counts: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The chosen pairs, as many at a time as have not too many entries together."""
        pairs = chosen.nonzero()
        most = _ENTRIES.get(pairs.device.type, _ENTRIES["cpu"])
        slab = counts[chosen].cumsum(0) // most
        for some in pairs.split(torch.unique_consecutive(slab, return_counts=True)[1].tolist()):
            if len(some):
                yield some[:, 0], some[:, 1]

    def _beyond(self, rows: Tensor, keys: Tensor, counts: Tensor, weights: Tensor, vectors: Tensor) -> Tensor:
        """The sum over dimensions of max(0, c - |y|) for some pairs (P,), in the first ``counts`` of each, (P,)."""
        pairs = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), counts)
        ranks = torch.arange(len(pairs), device=rows.device) - (counts.cumsum(0) - counts)[pairs]
        width = self.sizes.shape[-1]
        places = rows[pairs] * width
        dims = self.order.flatten()[places + ranks]
        places += dims
        along = vectors.flatten()[keys[pairs] * width + dims] * weights[rows, keys][pairs]
        over = (along * self.signs.flatten()[places] - self.sizes.flatten()[places]).clamp(min=0)
        return over.new_zeros(len(rows)).index_add(0, pairs, over)
