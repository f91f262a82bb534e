"""What the methods share that follow tokens through the layers: one pass that reads these, and serves all outputs."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from captum_heta.attr.base import OptionsT, OutputAttributions, Task, attributions
from captum_heta.attr.causal import CausalAttribution
from captum_heta.attr.sequences import TaskSequence
from captum_heta.models import Trace


class FlowAttribution(CausalAttribution[OptionsT]):
    """What each token has in the position that predicts an output, by a flow from that position down.

    Attributes:
        residuals: whether the flow reads the residual stream around each layer's attention too.
    """

    takes_media: ClassVar[bool] = True
    residuals: ClassVar[bool] = False

    @torch.no_grad()
    def _scores(self, task: Task, options: OptionsT) -> OutputAttributions:
        n = len(task.input_ids)
        scores, log_probs = [], []
        for trace in self._traces(task):
            rows = self._flow(trace, options)
            scores.append(torch.nn.functional.pad(rows, (0, n + len(task.outputs) - rows.shape[-1])))
            log_probs.append(trace.log_probs)
        whole = torch.cat(scores)
        found = attributions(whole, task.features, torch.cat(log_probs), task.outputs)
        return found._replace(output_scores=whole[:, n:]) if task.earlier else found

    def _traces(self, task: Task) -> Iterator[Trace]:
        """A pass over the prompt and all outputs, or one for each part that the model reads in a way of its own."""
        for some in self._lm.alike(len(task.input_ids), len(task.outputs)):
            yield TaskSequence(self._lm, task, some).unchecked(self.residuals)

    @abstractmethod
    def _flow(self, trace: Trace, options: OptionsT) -> Tensor:
        """(K, T)."""
