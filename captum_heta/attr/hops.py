"""From an answer through its reasoning to the prompt, hop by hop."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# What is left in the reasoning is followed no further when it is less than this part of the answer. What comes through
# a short step may have little, and still more than all that distracts.
LEAST = 0.001


class Hop(NamedTuple):
    """What one explanation says of a part of the output.

    Attributes:
        weights: (K,), of the output tokens that it explains; their sum is the part of the answer that is followed.
        prompt: (F,), what comes from the prompt, of that part.
        reasoning: (R,), what comes from the reasoning; the next hop explains it.
    """

    weights: Tensor
    prompt: Tensor
    reasoning: Tensor


def followed(
    explained: Callable[[Tensor], tuple[Tensor, Tensor]], answer: Tensor, thoughts: Sequence[int], hops: int
) -> list[Hop]:
    """The hops from an answer on, until less than `LEAST` of it is left in the reasoning.

    What a hop finds in a token of the reasoning is what the next explains of that token (the recursion of FlashTrace,
    arXiv 2602.01914).

    Args:
        explained: from weights (K,) of sum 1 to the shares of the prompt (F,) and of the reasoning (R,), of sum 1
            together, or all 0 where nothing supports the output.
        answer: (K,), non-negative weights of the output tokens to begin with.
        thoughts: which of the K are the R tokens of the reasoning.
        hops: how many at most.
    """
    weights, part, found = answer.double(), 1.0, []
    for _ in range(hops):
        weights = weights / weights.sum()
        prompt, thought = (part * share.detach().cpu().double() for share in explained(weights))
        found.append(Hop(part * weights, prompt, thought))
        part = thought.sum().item()
        if part < LEAST:
            break
        weights = torch.zeros_like(weights).index_add(0, torch.tensor(thoughts), thought)
    return found
