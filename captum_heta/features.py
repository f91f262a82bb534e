"""Features: the groups of tokens that are attributed, masked and differentiated together."""

import itertools
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from captum_heta.spans import Span


@dataclass(frozen=True)
class Features:
    """F groups of token positions of one prompt; tokens in no group are context that is never varied.

    Attributes:
        groups: the positions of each feature, in ascending order. A group may be empty (a template value that
            is the empty string) and then scores zero.
    """

    groups: tuple[tuple[int, ...], ...]

    @classmethod
    def of_tokens(cls, positions: Sequence[int]) -> "Features":
        """One feature for each of the given tokens."""
        return cls(tuple((int(position),) for position in positions))

    @classmethod
    def of_mask(cls, mask: Tensor) -> "Features":
        """Tokens with equal values of ``mask`` (n,) are one feature, in the order of the values."""
        return cls(tuple(tuple((mask == value).nonzero().flatten().tolist()) for value in mask.unique()))

    @classmethod
    def of_spans(cls, spans: Sequence[Sequence[Span]], token_spans: Sequence[Span]) -> "Features":
        """Each feature has the tokens that overlap its characters; a token on a border goes where most of it lies.

        Args:
            spans: the character ranges [start, end) of each feature.
            token_spans: the character range of each token, empty for special tokens.
        """
        groups: list[list[int]] = [[] for _ in spans]
        ranges = sorted((first, stop, i) for i, some in enumerate(spans) for first, stop in some)
        starts = [first for first, _, _ in ranges]
        reach = list(itertools.accumulate((stop for _, stop, _ in ranges), max))  # of a range and those before it
        for token, (start, end) in enumerate(token_spans):
            shared: dict[int, int] = {}
            place = bisect_left(starts, end) - 1
            while place >= 0 and reach[place] > start:
                first, stop, i = ranges[place]
                shared[i] = shared.get(i, 0) + max(0, min(end, stop) - max(start, first))
                place -= 1
            best = max(shared, key=lambda i: (shared[i], -i), default=None)
            if best is not None and shared[best]:
                groups[best].append(token)
        return cls(tuple(tuple(group) for group in groups))

    def merged(self, mask: Tensor) -> "Features":
        """Features with equal values of ``mask`` (F,) become one, in the order of the values."""
        values, index = mask.unique(return_inverse=True)
        found: list[list[int]] = [[] for _ in values]
        for group, owner in zip(self.groups, index.tolist(), strict=True):
            found[owner] += group
        return Features(tuple(tuple(sorted(group)) for group in found))

    def until(self, stop: int) -> "Features":
        """The features without their tokens from ``stop`` on."""
        return Features(tuple(tuple(token for token in group if token < stop) for group in self.groups))

    def before(self, stop: int) -> "Features":
        """Those whose tokens are all before a position; the others are empty."""
        if all(group[-1] < stop for group in self.groups if group):
            return self
        return Features(tuple(group if group and group[-1] < stop else () for group in self.groups))

    def __len__(self) -> int:
        return len(self.groups)

    @cached_property
    def by_first_token(self) -> list[int]:
        """The features that have tokens, in the order in which they start."""
        return sorted((i for i, group in enumerate(self.groups) if group), key=lambda i: self.groups[i][0])

    def sum(self, scores: Tensor) -> Tensor:
        """Token scores (..., T) to feature scores (..., F), by sums."""
        tokens, owners = self._members(scores.device)
        return scores.new_zeros(*scores.shape[:-1], len(self)).index_add(-1, owners, scores[..., tokens])

    def mean(self, scores: Tensor) -> Tensor:
        """Token scores (..., T) to feature scores (..., F), by means; 0 for a feature without tokens."""
        sizes = torch.tensor([max(1, len(group)) for group in self.groups], device=scores.device)
        return self.sum(scores) / sizes

    def spread(self, scores: Tensor, length: int) -> Tensor:
        """Feature scores (..., F) to token scores (..., length): each token carries its feature's score, others 0."""
        tokens, owners = self._members(scores.device)
        spread = scores.new_zeros(*scores.shape[:-1], length)
        spread[..., tokens] = scores[..., owners]
        return spread

    def _members(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The tokens of all features, one after the other, and the feature of each."""
        pairs = [(token, i) for i, group in enumerate(self.groups) for token in group]
        tokens, owners = torch.tensor(pairs, dtype=torch.long, device=device).reshape(-1, 2).T
        return tokens, owners

    def batches(self) -> list[list[int]]:
        """`by_first_token` cut into lists that share one cached prefix.

        All but the first feature of a list pay for positions before them. An eighth of the features wastes a
        sixteenth of the prompt.
        """
        order = self.by_first_token
        size = max(1, len(order) // 8)
        return [order[i : i + size] for i in range(0, len(order), size)]

    def windows(self, size: int | None, overlap: float) -> list[list[int]]:
        """`by_first_token` cut into windows of whole features with at most ``size`` tokens, or one feature.

        Each begins about ``size`` (1 - ``overlap``) tokens after the one before it, and ends later. A ``size`` of None
        is one window of all.
        """
        order = self.by_first_token
        tokens = [len(self.groups[name]) for name in order]
        if size is None or sum(tokens) <= size:
            return [order] if order else []
        found, start = [], 0
        while True:
            stop = _reach(tokens, start, size)
            found.append(order[start:stop])
            if stop == len(order):
                return found
            start = min(_reach(tokens, start, max(1, round(size * (1 - overlap)))), stop)
            while _reach(tokens, start, size) == stop:  # nothing new, as what follows is long
                start += 1


def _reach(tokens: list[int], start: int, most: int) -> int:
    """The end of the features from ``start`` on that have ``most`` tokens together, at least one feature."""
    stop, total = start + 1, tokens[start]
    while stop < len(tokens) and total + tokens[stop] <= most:
        total, stop = total + tokens[stop], stop + 1
    return stop
