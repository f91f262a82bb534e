"""HETA: Hessian-Enhanced Token Attribution (Pramanik et al., ICLR 2026, arXiv 2604.13258)."""

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor

from captum_heta.attr.base import OutputAttributions, Task, TokenAttribution
from captum_heta.models import CausalLM, trace_of
from captum_heta.options import CurvatureOptions, HETAOptions
from captum_heta.prompts import baseline_embeddings, baseline_ids, baselines_of_row, check_predictions
from captum_heta.terms.curvature import check_gradients, check_second_derivatives, curvature, effort
from captum_heta.terms.information import information
from captum_heta.terms.semantic_flow import semantic_flow


class HETATerms(NamedTuple):
    """The three terms of Eq. 5, of one shape and in float32.

    Attributes:
        semantic_flow: M, the causal gate; sums to 1 over the context.
        curvature: S, the second-order sensitivity of log P(target), per squared unit of the embeddings.
        information: I, in nats.
    """

    semantic_flow: Tensor
    curvature: Tensor
    information: Tensor

    def combine(self, beta: float, gamma: float) -> Tensor:
        """Eq. 5: M (beta S + gamma I)."""
        return self.semantic_flow * (beta * self.curvature + gamma * self.information)


class HETA(TokenAttribution[HETAOptions]):
    """Attr(i) = M[i] (beta S[i] + gamma I[i]) for each token i of a prompt (Eq. 5 of arXiv 2604.13258).

    M is the share of token i in what attention carries to the target position, S the curvature of the target's
    log-probability in its embedding, I the change of the next-token distribution when it is masked. A feature of
    several tokens is differentiated and masked as a whole, and its gates are added. Scores are non-negative.

    The scores of output t are those of its prompt followed by the outputs before t. Those of several outputs together
    have the Hessian of the sum of their log-probabilities, the sum of their informations, and the flow to all their
    positions; they cost one estimate of the curvature, however many there are.

    Args:
        forward_func: a decoder-only language model of Hugging Face transformers. It is left as it is found: during a
            call it runs in eval mode with eager attention and frozen parameters.

    Raises:
        TypeError: if the model is not a causal language model with attention in every layer; when it attributes, for a
            quantized model without right second derivatives, and for ``last_n_layers`` with a model whose layers are in
            no list.
        RuntimeError: when it attributes, if the model returns no attention or second derivatives that are not finite.

    Example::

        >>> scores, terms = HETA(model).attribute(input_ids, return_terms=True)
        >>> scores.shape == terms.curvature.shape == input_ids.shape  # (B, n)
        True
    """

    terms_type: ClassVar[type | None] = HETATerms
    takes_position_ids: ClassVar[bool] = True
    _lm: CausalLM

    def __init__(self, forward_func: Any) -> None:
        super().__init__(forward_func)
        self._tested = self._gradients_tested = not self._lm.is_quantized

    if TYPE_CHECKING:

        @overload  # type: ignore[no-overload-impl]
        def attribute(
            self, inputs: Tensor, *arguments: Any, return_terms: Literal[False] = False, **named: Any
        ) -> Tensor: ...
        @overload
        def attribute(
            self, inputs: Tensor, *arguments: Any, return_terms: Literal[True], **named: Any
        ) -> tuple[Tensor, HETATerms]: ...
        @overload
        def attribute(
            self, inputs: tuple[Tensor], *arguments: Any, return_terms: Literal[False] = False, **named: Any
        ) -> tuple[Tensor]: ...
        @overload
        def attribute(
            self, inputs: tuple[Tensor], *arguments: Any, return_terms: Literal[True], **named: Any
        ) -> tuple[tuple[Tensor], HETATerms]: ...

    def steps(self, task: Task, options: HETAOptions) -> int:
        """A masked pass for each feature, and a curvature for each, output and draw."""
        estimates = max(1, len(task.outputs)) if task.per_token else 1
        return len(task.features) * (1 + estimates * task.num_trials)

    def _view(self, model: Any) -> CausalLM:
        return CausalLM(model)

    def _reading(self) -> AbstractContextManager[None]:
        return self._lm.ready()

    def _options_of_row(self, options: HETAOptions, input_ids: Tensor, row: int, places: Tensor) -> HETAOptions:
        return replace(options, baselines=baselines_of_row(options.baselines, input_ids, row, places))

    def _scores(self, task: Task, options: HETAOptions) -> OutputAttributions:
        self._test_derivatives(options.curvature)
        if task.position_ids is not None:
            self._lm.check_position_ids()
        alike = self._lm.alike(len(task.input_ids), len(task.outputs))
        if not task.per_token and len(alike) > 1:
            raise ValueError(
                f"The answer crosses a length at which the rotary embedding of {type(self.model).__name__} changes "
                f"(after its output {alike[0].stop}): its outputs have no function in common. Explain each by itself, "
                "with per_token=True."
            )
        parts = [self._scores_alike(task, some, options) for some in alike]
        terms = HETATerms(*(torch.cat(columns) for columns in zip(*(part.terms for part in parts), strict=True)))
        about = {
            "curvature": parts[0].about["curvature"],
            "products": sum(part.about["products"] for part in parts),
        }
        log_probs = torch.cat([part.log_probs for part in parts])
        return OutputAttributions(terms.combine(options.beta, options.gamma), log_probs, terms, about)

    def _scores_alike(self, task: Task, some: range, options: HETAOptions) -> OutputAttributions:
        """The terms of neighbouring outputs that the model all reads in one way; one row without ``per_token``."""
        lm, ids, features = self._lm, task.input_ids, task.features
        outputs, joint = task.outputs[some.start : some.stop], not task.per_token
        whole = torch.cat([ids, task.outputs[: some.stop - 1]])
        embeds, per_layer = lm.embed(whole), lm.per_layer(whole)
        masked = embeds.clone()
        masked[: len(ids)] = baseline_embeddings(lm, embeds[: len(ids)], options.baselines)
        masked_per_layer = None
        if per_layer is not None:
            replacing = lm.per_layer(baseline_ids(lm, embeds[: len(ids)], options.baselines))
            assert replacing is not None
            masked_per_layer = torch.cat([replacing, per_layer[len(ids) :]])
        positions = task.position_ids
        if positions is not None:
            later = positions[-1] + torch.arange(1, len(whole) - len(ids) + 1, device=ids.device)
            positions = torch.cat([positions, later])
        trace = trace_of(lm, embeds, len(outputs), position_ids=positions, per_layer=per_layer)
        check_predictions(lm, trace.log_probs, outputs)
        copies = self._batch(options, len(embeds), len(outputs))
        products = self._batch(options, len(embeds), 1, products=True)
        lost = information(trace, features, masked, copies, task.advance, masked_per_layer)
        if joint:  # the chain rule of the KL divergence, on the given outputs
            lost = lost.sum(0, keepdim=True)
        flow = features.sum(semantic_flow(trace.layers, trace.output_positions, joint))
        curved = [
            curvature(trace, features, outputs.tolist(), estimator, products, task.advance, joint)
            for estimator in _fresh_draws(options, task.num_trials)
        ]
        terms = HETATerms(flow.float(), torch.stack(curved).mean(0).float(), lost.float())
        together = [range(len(outputs))] if joint else [range(k, k + 1) for k in range(len(outputs))]
        efforts = [effort(trace, features, options, some) for some in together]
        about = {"curvature": efforts[0][0], "products": task.num_trials * sum(products for _, products in efforts)}
        return OutputAttributions(flow, trace.log_probs.gather(1, outputs[:, None])[:, 0], terms, about)

    def _test_derivatives(self, mode: str) -> None:
        if not self._gradients_tested:
            check_gradients(self._lm)
            self._gradients_tested = True
        if not self._tested and mode != "fisher":  # which takes first derivatives only
            check_second_derivatives(self._lm)
            self._tested = True


def _fresh_draws(options: HETAOptions, count: int) -> list[CurvatureOptions]:
    """``options`` themselves and ``count`` - 1 others with seeds that follow from their own."""
    seeds = np.random.SeedSequence(options.seed).generate_state(count - 1).tolist()
    return [options, *(replace(options, seed=seed) for seed in seeds)]
