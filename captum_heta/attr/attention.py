"""Attention as an attribution: rolled out over the layers (Abnar & Zuidema 2020), or of the last layer alone."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from captum_heta.attr.base import OutputAttributions, PromptAttribution, attributions
from captum_heta.features import Features
from captum_heta.models import CausalLM, LanguageModel, Trace
from captum_heta.terms import attention_rollout, last_attention


class _AttentionAttribution(PromptAttribution):
    """What both share: one pass that reads the attention."""

    def _view(self, model: Any) -> LanguageModel:
        return CausalLM(model)

    def attribute_outputs(
        self,
        input_ids: Tensor,
        outputs: Tensor,
        features: Features,
        *,
        num_trials: int = 1,
        per_token: bool = True,
    ) -> OutputAttributions:
        """As `TokenAttribution.attribute_outputs`; one pass serves all outputs, ``num_trials`` changes nothing."""
        self._checked(input_ids, outputs, read=len(outputs) - 1)
        lm = self._lm
        assert isinstance(lm, CausalLM)
        scores, log_probs = [], []
        with lm.lock, lm.restored(), lm.ready(), torch.no_grad():
            for some in lm.alike(len(input_ids), len(outputs)):
                ids = torch.cat([input_ids, outputs[: some.stop - 1]])
                trace = lm.trace(lm.embed(ids), len(some), per_layer=lm.per_layer(ids))
                scores.append(self._attention(trace)[:, : len(input_ids)])
                log_probs.append(trace.log_probs)
        return attributions(torch.cat(scores), features, torch.cat(log_probs), outputs, per_token)

    @abstractmethod
    def _attention(self, trace: Trace) -> Tensor:
        """(K, T)."""


class AttentionRollout(_AttentionAttribution):
    """The share of each token in the target position when attention is followed through all layers.

    Row ``target`` of the product of (A_l + 1) / 2 over the layers, A_l the mean attention of a layer's heads and the 1
    for the residual stream (Abnar & Zuidema 2020, arXiv 2005.00928). Scores are non-negative and sum to 1 over prompt
    and outputs so far, skipped tokens included.
    """

    def _attention(self, trace: Trace) -> Tensor:
        return attention_rollout(trace.layers, trace.output_positions)


class LastAttention(_AttentionAttribution):
    """The attention of the target position in the last layer, mean over heads; sums to 1 like `AttentionRollout`."""

    def _attention(self, trace: Trace) -> Tensor:
        return last_attention(trace.layers, trace.output_positions)
