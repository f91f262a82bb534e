"""Which features of a prompt are known to hold its answer."""

from collections.abc import Sequence

import torch
from torch import Tensor

from captum_heta.datasets import Example
from captum_heta.features import Features
from captum_heta.spans import Span


def gold(item: Example, spans: Sequence[Span]) -> tuple[Tensor, Tensor]:
    """Which features lie in the evidence and which in the distractors, each (F,) bool.

    Args:
        item: the example.
        spans: the characters [start, end) of each feature in its prompt; one on a border goes where most of it lies.
    """
    marked = torch.zeros(2, len(spans), dtype=torch.bool, device="cpu")
    for row, group in zip(marked, Features.of_spans([item.evidence, item.distractors], spans).groups, strict=True):
        row[list(group)] = True
    return marked[0], marked[1]
