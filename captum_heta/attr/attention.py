"""Attention as an attribution: rolled out over the layers (Abnar & Zuidema 2020), or of the last layer alone."""

from abc import abstractmethod
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import torch
from torch import Tensor

from captum_heta.attr.base import OutputAttributions, Task, TokenAttribution, attributions
from captum_heta.attr.sequences import TaskSequence
from captum_heta.models import AttentionLayer, CausalLM, Trace
from captum_heta.options import Options
from captum_heta.terms.semantic_flow import attention_rollout, last_attention


class _AttentionAttribution(TokenAttribution[Options]):
    """What both share: one pass that reads the attention, and serves all outputs."""

    takes_media: ClassVar[bool] = True
    _lm: CausalLM

    def _view(self, model: Any) -> CausalLM:
        return CausalLM(model)

    def _reading(self) -> AbstractContextManager[None]:
        return self._lm.ready()

    @torch.no_grad()
    def _scores(self, task: Task, options: Options) -> OutputAttributions:
        n = len(task.input_ids)
        scores, log_probs = [], []
        for some in self._lm.alike(n, len(task.outputs)):
            trace = TaskSequence(self._lm, task, some).unchecked()
            rows = self._attention(trace)
            scores.append(torch.nn.functional.pad(rows, (0, n + len(task.outputs) - rows.shape[-1])))
            log_probs.append(trace.log_probs)
        whole = torch.cat(scores)
        found = attributions(whole, task.features, torch.cat(log_probs), task.outputs)
        return found._replace(output_scores=whole[:, n:]) if task.earlier else found

    @abstractmethod
    def _attention(self, trace: Trace) -> Tensor:
        """(K, T)."""


class AttentionRollout(_AttentionAttribution):
    """The share of each token in the target position when attention is followed through all layers.

    Row ``target`` of the product of (A_l + 1) / 2 over the layers, A_l the mean attention of a layer's heads and the 1
    for the residual stream (Abnar & Zuidema 2020, arXiv 2005.00928). Scores are non-negative and sum to 1 over prompt
    and outputs so far, skipped tokens included. In a layer without attention, norms of what each position loses without
    each token stand for it.
    """

    def _attention(self, trace: Trace) -> Tensor:
        return attention_rollout(trace.layers, trace.output_positions)


class LastAttention(_AttentionAttribution):
    """The attention of the target position in the last layer, mean over heads; sums to 1 like `AttentionRollout`."""

    def _attention(self, trace: Trace) -> Tensor:
        if not isinstance(trace.layers[-1], AttentionLayer):
            raise TypeError(
                f"The last layer of {type(self._lm.model).__name__} that carries tokens on has no attention that can "
                "be read: AttentionRollout follows what else does."
            )
        return last_attention(trace.layers, trace.output_positions)
