"""The squared gradient norm: the control for everything that HETA's curvature is said to find."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from captum_heta.attr.causal import GradientMethod
from captum_heta.attr.sequences import TaskSequence
from captum_heta.attr.task import Scorer, Task
from captum_heta.attr.weighted import WeightedAttribution
from captum_heta.models import Batch
from captum_heta.options import ContrastOptions, CurvatureOptions
from captum_heta.terms.curvature import curvature

_GRADIENT = CurvatureOptions(curvature="gradient")


@dataclass(frozen=True, kw_only=True)
class GradientNormOptions(ContrastOptions):
    """Those of `GradientNorm`."""


class GradientNorm(GradientMethod[GradientNormOptions], WeightedAttribution[GradientNormOptions]):
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

    takes_media: ClassVar[bool] = True

    def _weighing(self, task: Task, options: GradientNormOptions) -> Callable[[Tensor], Scorer]:
        return lambda weights: self._scorer(replace(task, weights=weights), options)

    def _of(self, sequence: TaskSequence, options: GradientNormOptions) -> tuple[Tensor, Tensor]:
        task, outputs = sequence.task, sequence.outputs
        trace = sequence.traced()
        others = None if sequence.others is None else sequence.others.tolist()
        found = curvature(
            trace, sequence.sources, outputs.tolist(), _GRADIENT, Batch(1), together=task.together, contrast=others
        )
        return found.scores, trace.log_probs.gather(1, outputs[:, None])[:, 0]
