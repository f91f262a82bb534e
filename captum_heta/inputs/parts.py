"""Scores of features, summed over the parts of a prompt that they belong to."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, TypeVar

import torch

Part = TypeVar("Part", bound=Hashable)


def summed(scores: Any, part_of: Sequence[Part], parts: Iterable[Part]) -> dict[Part, float]:
    """The sum of the scores of each part's features; 0 for a part that has none.

    Args:
        scores: (F,), such as a result's `seq_attr`, as a tensor or a sequence.
        part_of: the part of each of the F features.
        parts: all parts, in the order of the answer.

    Raises:
        ValueError: if there is not one score for each feature.
    """
    values = torch.as_tensor(scores, device="cpu").detach()
    if tuple(values.shape) != (len(part_of),):
        raise ValueError(
            f"scores must be one number for each of the {len(part_of)} features, ({len(part_of)},), got shape "
            f"{tuple(values.shape)}. Pass a result's seq_attr, or one row of its token_attr."
        )
    sums = dict.fromkeys(parts, 0.0)
    for part, value in zip(part_of, values.tolist(), strict=True):
        sums[part] += value
    return sums
