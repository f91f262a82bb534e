"""The squared gradient norm: the control for everything that HETA's curvature is said to find."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from captum_heta.attr.base import OutputAttributions, Task
from captum_heta.attr.sequences import TaskSequence, Tested, contrast_of_row, sequences
from captum_heta.attr.task import Scorer
from captum_heta.attr.weighted import WeightedAttribution
from captum_heta.features import Features
from captum_heta.models import Batch, CausalLM
from captum_heta.options import ContrastOptions, CurvatureOptions
from captum_heta.terms.curvature import curvature

_GRADIENT = CurvatureOptions(curvature="gradient")


@dataclass(frozen=True, kw_only=True)
class GradientNormOptions(ContrastOptions):
    """Those of `GradientNorm`."""


class GradientNorm(WeightedAttribution[GradientNormOptions]):
    """score_i = norm2(d log P(target) / d x_i)^2, non-negative: one backward pass.

    The squared gradient is what a Fisher matrix has on its diagonal, by one score vector instead of all, and alone it
    ranks about as well as HETA's S. A claim for curvature must beat it. The gradient's size is that of Simonyan et al.
    2014 (arXiv 1312.6034); with ``contrast`` that of Yin & Neubig 2022 (arXiv 2202.10419), squared here. A feature of
    several tokens has the sum of theirs.

    Args:
        forward_func: a causal language model of Hugging Face transformers, as for `HETA`.

    Raises:
        TypeError: if it is none; when it attributes, if a quantized model has no right gradients.

    Example::

        >>> scores = GradientNorm(model).attribute(input_ids)
        >>> scores.shape == input_ids.shape  # (B, n)
        True
    """

    takes_position_ids = True
    takes_media = True
    _lm: CausalLM

    def __init__(self, forward_func: Any) -> None:
        super().__init__(forward_func)
        self._tested = Tested(self._lm)

    def _view(self, model: Any) -> CausalLM:
        return CausalLM(model)

    def _reading(self) -> AbstractContextManager[None]:
        return self._lm.ready()

    def _options_of_row(
        self, options: GradientNormOptions, input_ids: Tensor, row: int, places: Tensor
    ) -> GradientNormOptions:
        return replace(options, contrast=contrast_of_row(self._lm, options.contrast, len(input_ids), row))

    def _scores(self, task: Task, options: GradientNormOptions) -> OutputAttributions:
        self._tested.check(_GRADIENT.curvature)
        parts = [self._of(some) for some in sequences(self._lm, task, options.contrast)]
        found, log_probs = zip(*parts, strict=True)
        scores, count = torch.cat(found), len(task.features)
        earlier = scores[:, count:] if task.earlier and task.per_token else None
        return OutputAttributions(scores[:, :count], torch.cat(log_probs), output_scores=earlier)

    def _scorer(self, task: Task, options: GradientNormOptions) -> Scorer:
        def of(features: Features) -> OutputAttributions:
            return self._scores(replace(task, features=features), options)

        return Scorer(of, lambda found, features, owners: of(features))  # which costs one gradient

    def _weighing(self, task: Task, options: GradientNormOptions) -> Callable[[Tensor], Scorer]:
        return lambda weights: self._scorer(replace(task, weights=weights), options)

    def _of(self, sequence: TaskSequence) -> tuple[Tensor, Tensor]:
        task, outputs = sequence.task, sequence.outputs
        trace = sequence.traced()
        others = None if sequence.others is None else sequence.others.tolist()
        features = task.features
        if task.earlier and task.per_token:
            features = Features(features.groups + task.output_features.before(len(trace.embeds)).groups)
        found = curvature(
            trace, features, outputs.tolist(), _GRADIENT, Batch(1), together=task.together, contrast=others
        )
        return found.scores, trace.log_probs.gather(1, outputs[:, None])[:, 0]
