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
        self.signs = torch.copysign(torch.ones_like(y), y)  # not 0 where y is: any part takes something away there
        self.sizes = y.abs()
        self.few = int(_MANY * y.shape[-1]) + 1
        self.ascending, order = self.sizes.topk(self.few, largest=False)
        self.order, self.signed = order.to(torch.int32), y.gather(-1, order)

    def of_own(self, parts: Tensor) -> Tensor:
        """The p of one part of each sum, (Q, d) to (Q,)."""
        along = parts * self.signs
        return (along - 2 * (along - self.sizes).clamp(min=0)).sum(-1).clamp(min=0)

    def of_scaled(self, weights: Tensor, values: Tensor, mixer: Tensor) -> Tensor:
        """The p of the parts ``weights[t, i] values[i] @ mixer`` of the sums t.

        Args:
            weights: (Q, S).
            values: (S, e).
            mixer: (e, d).

        Returns:
            (Q, S), non-negative.
        """
        vectors = values @ mixer
        found = weights * (self.signs @ mixer.T @ values.T)  # a head has few dimensions, the stream has many
        reach = weights.abs() * vectors.abs().amax(-1)
        # in so many dimensions, those of the smallest |y|, or more; 0 for most pairs of a long text
        counts = torch.searchsorted(self.ascending, reach, out_int32=True).flatten()
        pairs = counts.nonzero()[:, 0]
        counts = counts[pairs]
        few = counts < self.few
        for some in pairs[~few].split(max(1, _entries(pairs) // vectors.shape[-1])):
            rows, keys = _places(some, found)
            along = weights.flatten()[some][:, None] * vectors[keys] * self.signs[rows]
            found.view(-1)[some] -= 2 * (along - self.sizes[rows]).clamp(min=0).sum(-1)
        for some, own in _slabs(pairs[few], counts[few]):
            beyond = self._beyond(*_places(some, found), own, weights.flatten()[some], vectors)
            found.view(-1)[some] -= 2 * beyond
        return found.clamp(min=0)

    def _beyond(self, rows: Tensor, keys: Tensor, counts: Tensor, weights: Tensor, vectors: Tensor) -> Tensor:
        """The sum over dimensions of max(0, c - |y|) for P pairs, in the first ``counts`` (P,) of each, (P,)."""
        width = vectors.shape[-1]
        small = max(self.order.numel(), vectors.numel()) <= torch.iinfo(torch.int32).max
        kind = torch.int32 if small else torch.int64  # of indices: on a CPU the shorter are read several times as fast
        pairs = torch.repeat_interleave(counts).to(kind)
        begins = (rows * self.few - (counts.cumsum(0) - counts)).to(kind)
        places = torch.arange(len(pairs), device=rows.device, dtype=kind) + begins.index_select(0, pairs)
        dims = self.order.flatten().index_select(0, places)
        y = self.signed.flatten().index_select(0, places)
        along = vectors.flatten().index_select(0, (keys * width).to(kind).index_select(0, pairs) + dims)
        along *= weights.index_select(0, pairs)
        over = (along * torch.copysign(torch.ones_like(y), y) - y.abs()).clamp(min=0)
        return over.new_zeros(len(rows)).index_add(0, pairs, over)


def _entries(like: Tensor) -> int:
    return _ENTRIES.get(like.device.type, _ENTRIES["cpu"])


def _places(pairs: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """The rows and columns of pairs that are counted through a matrix."""
    rows = pairs // like.shape[-1]
    return rows, pairs - rows * like.shape[-1]


def _slabs(pairs: Tensor, counts: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs (P,) and how many entries they have (P,), as many at a time as have not too many together."""
    slab = counts.cumsum(0) // _entries(pairs)
    sizes = torch.unique_consecutive(slab, return_counts=True)[1].tolist()
    yield from zip(pairs.split(sizes), counts.split(sizes), strict=True)
