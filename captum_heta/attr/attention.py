"""Attention as an attribution: rolled out over the layers (Abnar & Zuidema 2020), or of the last layer alone."""

from torch import Tensor

from captum_heta.attr.flow import FlowAttribution
from captum_heta.models import AttentionLayer, Trace
from captum_heta.options import Options
from captum_heta.terms.semantic_flow import attention_rollout, last_attention


class AttentionRollout(FlowAttribution[Options]):
    """The share of each token in the target position when attention is followed through all layers.

    Row ``target`` of the product of (A_l + 1) / 2 over the layers, A_l the mean attention of a layer's heads and the 1
    for the residual stream (Abnar & Zuidema 2020, arXiv 2005.00928). Scores are non-negative and sum to 1 over prompt
    and outputs so far, skipped tokens included. In a layer without attention, norms of what each position loses without
    each token stand for it.
    """

    def _flow(self, trace: Trace, options: Options) -> Tensor:
        return attention_rollout(trace.layers, trace.output_positions)


class LastAttention(FlowAttribution[Options]):
    """The attention of the target position in the last layer, mean over heads; sums to 1 like `AttentionRollout`."""

    def _flow(self, trace: Trace, options: Options) -> Tensor:
        if not isinstance(trace.layers[-1], AttentionLayer):
            raise TypeError(
                f"The last layer of {type(self._lm.model).__name__} that carries tokens on has no attention that can "
                "be read: AttentionRollout follows what else does."
            )
        return last_attention(trace.layers, trace.output_positions)
