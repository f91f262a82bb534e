"""What a method is asked of a prompt, and what it answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from captum_heta.features import Features
from captum_heta.models import Media


class OutputAttributions(NamedTuple):
    """Attributions of K output tokens to F features.

    Attributes:
        scores: (K, F), or (1, F) for the outputs together; float32.
        log_probs: (K,), of each output given the prompt and the outputs before it.
        terms: a named tuple of tensors of the shape of ``scores`` that they are made of, or None.
        about: what a method says of how it found them, such as the mode that it chose; of JSON's types.
        errors: (K, F) or (1, F), standard errors of what of ``terms`` was estimated by random draws, or None.
        output_scores: (K, K), what each output has of those before it, 0 on the diagonal and above it, in the unit of
            ``scores``; None where it was not asked for.
    """

    scores: Tensor
    log_probs: Tensor
    terms: Any = None
    about: Mapping[str, Any] = MappingProxyType({})
    errors: Tensor | None = None
    output_scores: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Task:
    """What a method is asked of one prompt.

    Attributes:
        input_ids: (n,), the prompt.
        outputs: (K,), the output token ids that follow it.
        features: groups of prompt tokens.
        position_ids: (n,), if they are not 0 to n - 1.
        media: pictures and sound of the prompt, or None.
        per_token: whether each output is explained by itself, or all of them at once.
        num_trials: over how many fresh draws a method that draws is averaged.
        parts: (F,) integers, the parts of the prompt that features belong to, to be looked at first; or None.
        refine: the share of the score that the parts hold whose features are looked at by themselves; 0 for none.
        earlier: whether the outputs before an output are sources of it, as the prompt is. Where they are explained
            together, ``features`` may have tokens of theirs, which follow the prompt's.
        weights: (K,), of the outputs where they are explained together; None for 1.
        advance: called with the number of steps that are done, of those that `TokenAttribution.steps` says.
    """

    input_ids: Tensor
    outputs: Tensor
    features: Features
    position_ids: Tensor | None = None
    media: Media | None = None
    per_token: bool = True
    num_trials: int = 1
    parts: Tensor | None = None
    refine: float = 1.0
    earlier: bool = False
    weights: Tensor | None = None
    advance: Callable[[int], object] = field(default=lambda done: None)

    @property
    def together(self) -> Tensor | None:
        """(K,), the weights of the outputs in one row for all; None where each has its own."""
        if self.per_token:
            return None
        return torch.ones(len(self.outputs), device=self.outputs.device) if self.weights is None else self.weights

    @property
    def output_features(self) -> Features:
        """Each of the K outputs as a feature, by its place behind the prompt; the last one is read by none."""
        first = len(self.input_ids)
        return Features.of_tokens(range(first, first + len(self.outputs)))


@dataclass(frozen=True, eq=False)
class Scorer:
    """A method at work on one task, for any features of its prompt; what serves several sets is computed once.

    Attributes:
        score: the attributions of some features.
        spread: those of groups of features as those of the features themselves: given the attributions, the features,
            and (F,) the group of each.
    """

    score: Callable[[Features], OutputAttributions]
    spread: Callable[[OutputAttributions, Features, Tensor], OutputAttributions]
