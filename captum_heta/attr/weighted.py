"""A weighted sum of log-probabilities as one task, with the outputs among its sources."""

import math

import torch
from torch import Tensor

from captum_heta.attr.task import Task
from captum_heta.features import Features
from captum_heta.models import Media


def weighted_task(
    input_ids: Tensor,
    outputs: Tensor,
    weights: Tensor,
    features: Features,
    media: Media | None,
    parts: Tensor | None,
    refine: float,
) -> Task:
    """What explains sum_t weights_t log P(output_t), of the shortest text that has all outputs of some weight.

    Args:
        input_ids: (n,), the prompt.
        outputs: (K,).
        weights: (K,).
        features: groups of tokens of prompt and outputs, which lose the tokens that no such output reads.
        media: of the prompt.
        parts: as in `Task`.
        refine: as in `Task`.

    Raises:
        ValueError: for weights that are no K non-negative and finite numbers, or all 0.
    """
    weights = torch.as_tensor(weights, device=outputs.device)
    if weights.shape != outputs.shape or not bool((weights >= 0).all()) or not 0 < weights.sum().item() < math.inf:
        raise ValueError(f"weights must be {len(outputs)} non-negative numbers, one above 0, got {weights!r:.200}.")
    first, last = (int(place) for place in weights.nonzero()[[0, -1], 0])
    before, explained = torch.cat([input_ids, outputs[:first]]), outputs[first : last + 1]
    read = len(input_ids) + last
    return Task(
        before,
        explained,
        Features(tuple(tuple(token for token in group if token < read) for group in features.groups)),
        media=media,
        per_token=False,
        parts=parts,
        refine=refine,
        earlier=True,
        weights=weights[first : last + 1],
    )
