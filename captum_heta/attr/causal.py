"""What the methods share that look into a causal language model: at its attention, or at its derivatives."""

from abc import abstractmethod
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from captum_heta.attr.base import OptionsT, OutputAttributions, Task, TokenAttribution
from captum_heta.attr.sequences import TaskSequence, Tested, contrast_of_row, sequences
from captum_heta.attr.task import Scorer
from captum_heta.features import Features
from captum_heta.models import CausalLM
from captum_heta.options import ContrastOptions

ContrastT = TypeVar("ContrastT", bound=ContrastOptions)


class CausalAttribution(TokenAttribution[OptionsT]):
    """A method that looks into the model, which has eager attention and frozen parameters meanwhile."""

    _lm: CausalLM

    def _view(self, model: Any) -> CausalLM:
        return CausalLM(model)

    def _reading(self) -> AbstractContextManager[None]:
        return self._lm.ready()


class GradientMethod(CausalAttribution[ContrastT]):
    """A method that takes a pass and a gradient for each output, or one for all of them together."""

    takes_position_ids: ClassVar[bool] = True

    def __init__(self, forward_func: Any) -> None:
        super().__init__(forward_func)
        self._tested = Tested(self._lm)

    def _options_of_row(self, options: ContrastT, input_ids: Tensor, row: int, places: Tensor) -> ContrastT:
        return replace(options, contrast=contrast_of_row(self._lm, options.contrast, len(input_ids), row))

    def _scores(self, task: Task, options: ContrastT) -> OutputAttributions:
        self._tested.check("gradient")
        parts = [self._of(some, options) for some in sequences(self._lm, task, options.contrast)]
        found, log_probs = zip(*parts, strict=True)
        scores, count = torch.cat(found), len(task.features)
        earlier = scores[:, count:] if task.earlier and task.per_token else None
        return OutputAttributions(scores[:, :count], torch.cat(log_probs), output_scores=earlier)

    def _scorer(self, task: Task, options: ContrastT) -> Scorer:
        def of(features: Features) -> OutputAttributions:
            return self._scores(replace(task, features=features), options)

        return Scorer(of, lambda found, features, owners: of(features))  # which costs one gradient

    @abstractmethod
    def _of(self, sequence: TaskSequence, options: ContrastT) -> tuple[Tensor, Tensor]:
        """Scores (K, F) of the `TaskSequence.sources` of a sequence, and log-probabilities (K,) of its outputs."""
