"""Information flow routes (Ferrando & Voita 2024, arXiv 2403.00824)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from captum_heta.attr.flow import FlowAttribution
from captum_heta.checks import check_part
from captum_heta.models import Trace
from captum_heta.options import Options
from captum_heta.terms.contribution_flow import contribution_flow


@dataclass(frozen=True, kw_only=True)
class FlowRoutesOptions(Options):
    """Those of `InformationFlowRoutes`.

    Attributes:
        threshold: edges of more than this importance are followed; 0 for all that have any.
    """

    threshold: float = 0.04

    def __post_init__(self) -> None:
        super().__post_init__()
        check_part("threshold", self.threshold, "what a token is made of in a layer", zero=True)


class InformationFlowRoutes(FlowAttribution[FlowRoutesOptions]):
    """What arrives at each token's embedding along the important edges from the position that predicts.

    A position of a layer is y = x + sum of c_i, x the residual stream and c_i what attention adds of token i. Each part
    z has the importance max(0, norm1(y) - norm1(y - z)), over the sum of all parts' (Ferrando & Voita 2024, arXiv
    2403.00824): parts that point where the sum does have much. From the position that predicts an output the graph is
    built downwards, from the last layer to the embeddings, of the edges above ``threshold``. A score is the sum over
    the routes to a token of the products of their edges. Scores are non-negative and sum to 1 over prompt and outputs
    so far, skipped tokens included. One pass, without derivatives; which token is predicted makes no difference.

    Kept of the paper: the importance, the threshold, and that a token's own residual stream and what its heads read of
    it are two edges. An edge between two tokens has the sum of its heads' importances, each by itself. Decided here, as
    the paper's graphs have no score for a token: edges that are left out hand their importance on to those of the same
    position that stay, in proportion (its code can do so too); where none stays, the residual stream is followed.
    Feed-forward blocks have no edges here: both of a block's would lead to the same token.
    Of a norm before the sum, and of layers without attention, see `captum_heta.terms.contribution_flow`; with a
    threshold of 0 scores are that term, G of `TargetedHETA`.

    Args:
        forward_func: a causal language model of Hugging Face transformers, as for `HETA`.

    Raises:
        TypeError: if it is none; when it attributes, for a model whose residual stream cannot be followed.

    Example::

        >>> scores = InformationFlowRoutes(model).attribute(input_ids)
        >>> bool((scores.sum(-1) - 1).abs().max() < 1e-5)  # of each prompt in the batch
        True
    """

    residuals: ClassVar[bool] = True

    def _flow(self, trace: Trace, options: FlowRoutesOptions) -> Tensor:
        return contribution_flow(trace.layers, trace.output_positions, threshold=options.threshold)
