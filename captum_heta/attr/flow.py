"""What the methods share that follow tokens through the layers: one pass that reads these, and serves all outputs."""

from abc import abstractmethod
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import torch
from torch import Tensor

from captum_heta.attr.base import OptionsT, OutputAttributions, Task, TokenAttribution, attributions
from captum_heta.attr.sequences import TaskSequence
from captum_heta.models import CausalLM, Trace


class FlowAttribution(TokenAttribution[OptionsT]):
    """The share of each token in the position that predicts an output, by a flow from that position down.

    Attributes:
        residuals: whether the flow reads the residual stream around each layer's attention too.
    """

    takes_media: ClassVar[bool] = True
    residuals: ClassVar[bool] = False
    _lm: CausalLM

    def _view(self, model: Any) -> CausalLM:
        return CausalLM(model)

    def _reading(self) -> AbstractContextManager[None]:
        return self._lm.ready()

    @torch.no_grad()
    def _scores(self, task: Task, options: OptionsT) -> OutputAttributions:
        n = len(task.input_ids)
        scores, log_probs = [], []
        for some in self._lm.alike(n, len(task.outputs)):
            trace = TaskSequence(self._lm, task, some).unchecked(self.residuals)
            rows = self._flow(trace, options)
            scores.append(torch.nn.functional.pad(rows, (0, n + len(task.outputs) - rows.shape[-1])))
            log_probs.append(trace.log_probs)
        whole = torch.cat(scores)
        found = attributions(whole, task.features, torch.cat(log_probs), task.outputs)
        return found._replace(output_scores=whole[:, n:]) if task.earlier else found

    @abstractmethod
    def _flow(self, trace: Trace, options: OptionsT) -> Tensor:
        """(K, T)."""
