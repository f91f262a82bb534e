"""HETA: Hessian-Enhanced Token Attribution (Pramanik et al., ICLR 2026, arXiv 2604.13258)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from captum_heta.attr._captum import NullProgress, Progress, progress
from captum_heta.attr.base import OutputAttributions, TokenAttribution
from captum_heta.attr.inputs import (
    Baselines,
    baseline_embeddings,
    baseline_ids,
    baselines_of_row,
    check_ids,
    check_length,
    check_predictions,
    check_targets,
    prompts,
    targets,
)
from captum_heta.checks import check_batch_size, check_count, check_weight
from captum_heta.features import Features
from captum_heta.models import Batch, CausalLM
from captum_heta.terms import (
    CurvatureOptions,
    check_gradients,
    check_second_derivatives,
    curvature,
    information,
    semantic_flow,
)


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


@dataclass(frozen=True)
class _Options:
    """The options of `HETA.attribute` that do not depend on its inputs, checked."""

    beta: float
    gamma: float
    perturbations_per_eval: int | None
    num_trials: int
    curvature: CurvatureOptions

    def __post_init__(self) -> None:
        check_weight("beta", self.beta)
        check_weight("gamma", self.gamma)
        check_count("num_trials", self.num_trials)
        check_batch_size(self.perturbations_per_eval)


def _options(
    *,
    beta: float = 0.5,
    gamma: float = 0.5,
    perturbations_per_eval: int | None = None,
    num_trials: int = 1,
    curvature: str = "auto",
    **estimator: Any,
) -> _Options:
    return _Options(beta, gamma, perturbations_per_eval, num_trials, CurvatureOptions(mode=curvature, **estimator))


class HETA(TokenAttribution):
    """Attr(i) = M[i] (beta S[i] + gamma I[i]) for each token i of a prompt (Eq. 5 of arXiv 2604.13258).

    M is the share of token i in what attention carries to the target position, S the curvature of the target's
    log-probability in its embedding, I the change of the next-token distribution when it is masked.

    Args:
        forward_func: a decoder-only language model of Hugging Face transformers. It is left as it is found: during a
            call it runs in eval mode with eager attention and frozen parameters.

    Raises:
        TypeError: if the model is not a causal language model with attention in every layer.

    Example::

        >>> heta = HETA(model)
        >>> scores = heta.attribute(input_ids, target=token_id)  # (B, n)
    """

    def __init__(self, forward_func: Any) -> None:
        super().__init__(forward_func)
        self._lm = CausalLM(forward_func)
        self._tested = self._gradients_tested = not self._lm.is_quantized

    def attribute(
        self,
        inputs: Tensor | tuple[Tensor],
        baselines: Baselines = None,
        target: int | Sequence[int] | Tensor | None = None,
        additional_forward_args: Any = None,
        feature_mask: Tensor | tuple[Tensor] | None = None,
        perturbations_per_eval: int | None = None,
        show_progress: bool = False,
        *,
        beta: float = 0.5,
        gamma: float = 0.5,
        curvature: str = "auto",
        n_samples: int = 10,
        rank: int = 64,
        window: int | None = 512,
        overlap: float = 0.5,
        last_n_layers: int | None = None,
        seed: int = 0,
        return_terms: bool = False,
    ) -> Any:
        """Attribute the next-token prediction after each prompt to the prompt's tokens.

        Args:
            inputs: token ids, (B, n) integers on the device of the model's embeddings. Captum's form, a tuple of
                one tensor, is answered with a tuple.
            baselines: what replaces a masked token's embedding in I: None or "zero" for zeros, "mean" for the mean of
                the prompt's embeddings, or token ids (an int, or a tensor that broadcasts to ``inputs``) for theirs.
            target: the token id whose log-probability is explained, one for all prompts or one a prompt. None explains
                the model's own most likely next token.
            additional_forward_args: the attention mask (B, n) for prompts padded on either side; or a tuple of
                attention mask and position ids; or a dictionary with these names. Padding scores 0.
            feature_mask: integers that broadcast to ``inputs``. Tokens with the same number are one feature:
                differentiated and masked together, their gates added; each carries the feature's score.
            perturbations_per_eval: masked copies or Hessian products at once. None fits them to a memory budget.
            show_progress: show Captum's progress bar.
            beta: the weight of S, >= 0.
            gamma: the weight of I, >= 0.
            curvature: how S is estimated. "exact": a Hessian-vector product for each feature and probe. "low_rank":
                the Hessian's eigenvectors, from ``rank`` products in each window. "gauss_newton": as "exact", with
                the Gauss-Newton matrix, which leaves out how the logits curve. "fisher": that matrix, estimated from
                ``rank`` random combinations of score vectors, at the cost of a few gradients. "auto": the one of
                "exact" and "low_rank" that needs fewer products.
            n_samples: Rademacher probes that estimate S. The error falls with their square root.
            rank: products of "low_rank" in a window, combinations of score vectors in "fisher".
            window: tokens that vary together in "low_rank"; None for all. The model always sees the whole prompt. The
                other modes look at one feature at a time, which no window cuts: any window gives the same.
            overlap: the share of a window that the next one covers too, in [0, 1); scores are averaged there.
            last_n_layers: S with respect to the hidden states that enter the last so many layers, not the embeddings:
                cheaper in memory and time for deep models (the paper takes 6 of a 70B model's).
            seed: of the probes. The same seed gives the same scores; torch's global random state is not touched.
            return_terms: return M, S and I too.

        Returns:
            Scores of the shape of ``inputs``, float32, non-negative. With ``return_terms``, a pair of them and
            `HETATerms`.

        Raises:
            ValueError: for inputs, targets, masks or options that do not fit; the message says what would.
            TypeError: for a quantized model without right second derivatives, and for ``last_n_layers`` with a model
                whose layers are in no list.
            RuntimeError: if the model returns no attention or second derivatives that are not finite.
        """
        options = _options(
            beta=beta,
            gamma=gamma,
            curvature=curvature,
            n_samples=n_samples,
            rank=rank,
            window=window,
            overlap=overlap,
            last_n_layers=last_n_layers,
            seed=seed,
            perturbations_per_eval=perturbations_per_eval,
        )
        input_ids = inputs[0] if isinstance(inputs, tuple) else inputs
        rows = prompts(self._lm, input_ids, additional_forward_args, feature_mask)
        outputs = targets(self._lm, target, len(rows))
        zeros = torch.zeros(input_ids.shape, dtype=torch.float32, device=input_ids.device)
        terms = HETATerms(*(zeros.clone() for _ in HETATerms._fields))
        with self._bar(show_progress, sum(2 * len(row.features) for row in rows)) as bar:
            for i, (row, output) in enumerate(zip(rows, outputs, strict=True)):
                masked = baselines_of_row(baselines, input_ids, i, row.places)
                found, _ = self._explain(row.ids, row.position_ids, output, row.features, masked, options, bar)
                for whole, part in zip(terms, found, strict=True):
                    whole[i, row.places] = row.features.spread(part, len(row.places))[0]
        scores = terms.combine(beta, gamma)
        answer = (scores,) if isinstance(inputs, tuple) else scores
        return (answer, terms) if return_terms else answer

    def attribute_outputs(
        self,
        input_ids: Tensor,
        outputs: Tensor,
        features: Features,
        *,
        num_trials: int = 1,
        per_token: bool = True,
        baselines: Baselines = None,
        show_progress: bool = False,
        **kwargs: Any,
    ) -> OutputAttributions:
        """As `TokenAttribution.attribute_outputs`; ``kwargs`` are the options of `attribute`.

        The scores of output t are those of `attribute` for the prompt followed by the outputs before t. Those of the
        outputs together have the Hessian of the sum of their log-probabilities, the sum of their informations, and the
        flow to all their positions; they cost one estimate of the curvature, however many there are.
        """
        options = _options(num_trials=num_trials, **kwargs)
        check_ids(self._lm, input_ids[None])
        check_targets(self._lm, outputs)
        estimates = (len(outputs) if per_token else 1) * num_trials
        with self._bar(show_progress, len(features) * (1 + estimates)) as bar:
            terms, log_probs = self._explain(
                input_ids, None, outputs, features, baselines, options, bar, joint=not per_token
            )
        return OutputAttributions(terms.combine(options.beta, options.gamma), log_probs, terms)

    def _explain(
        self,
        ids: Tensor,
        position_ids: Tensor | None,
        outputs: Tensor | None,
        features: Features,
        baselines: Baselines,
        options: _Options,
        bar: Progress,
        joint: bool = False,
    ) -> tuple[HETATerms, Tensor]:
        """The terms (K, F) and log-probabilities (K,) of the outputs of one prompt, or of its likeliest next token.

        If ``joint``, the terms (1, F) of all outputs together.
        """
        lm, count = self._lm, 1 if outputs is None else len(outputs)
        check_length(lm, len(ids) + count - 1)
        alike = lm.alike(len(ids), count)
        if joint and len(alike) > 1:
            raise ValueError(
                f"The answer crosses a length at which the rotary embedding of {type(self.model).__name__} changes "
                f"(after its output {alike[0].stop}): its outputs have no function in common. Explain each by itself, "
                "with per_token=True."
            )
        with lm.lock, lm.restored(), lm.ready():
            self._test_derivatives(options.curvature.mode)
            if position_ids is not None:
                lm.check_position_ids()
            parts = []
            for some in alike:
                before = ids[:0] if outputs is None else outputs[: some.start]
                mine = None if outputs is None else outputs[some.start : some.stop]
                parts.append(
                    self._explain_alike(ids, before, position_ids, mine, features, baselines, options, bar, joint)
                )
        terms = HETATerms(*(torch.cat(columns) for columns in zip(*(part for part, _ in parts), strict=True)))
        return terms, torch.cat([log_probs for _, log_probs in parts])

    def _explain_alike(
        self,
        ids: Tensor,
        before: Tensor,
        position_ids: Tensor | None,
        outputs: Tensor | None,
        features: Features,
        baselines: Baselines,
        options: _Options,
        bar: Progress,
        joint: bool,
    ) -> tuple[HETATerms, Tensor]:
        """The same for outputs after some others, ``before``, that the model all reads in one way."""
        lm = self._lm
        whole = ids if outputs is None else torch.cat([ids, before, outputs[:-1]])
        count = 1 if outputs is None else len(outputs)
        embeds, per_layer = lm.embed(whole), lm.per_layer(whole)
        masked = embeds.clone()
        masked[: len(ids)] = baseline_embeddings(lm, embeds[: len(ids)], baselines)
        masked_per_layer = None
        if per_layer is not None:
            replacing = lm.per_layer(baseline_ids(lm, embeds[: len(ids)], baselines))
            assert replacing is not None
            masked_per_layer = torch.cat([replacing, per_layer[len(ids) :]])
        if position_ids is not None:
            later = position_ids[-1] + torch.arange(1, len(whole) - len(ids) + 1, device=ids.device)
            position_ids = torch.cat([position_ids, later])
        trace = lm.trace(embeds, count, position_ids=position_ids, per_layer=per_layer)
        if outputs is None:
            outputs = trace.log_probs.argmax(-1)
        check_predictions(lm, trace.log_probs, outputs)
        given = options.perturbations_per_eval
        copies = Batch(given or lm.batch_size(len(embeds), count), chosen=given is not None)
        products = Batch(given or lm.batch_size(len(embeds), 1, products=True), chosen=given is not None)
        lost = information(trace, features, masked, copies, bar.update, masked_per_layer)
        if joint:  # the chain rule of the KL divergence, on the given outputs
            lost = lost.sum(0, keepdim=True)
        flow = features.sum(semantic_flow(trace.layers, trace.output_positions, joint))
        curved = [
            curvature(trace, features, outputs.tolist(), estimator, products, bar.update, joint)
            for estimator in _fresh_draws(options.curvature, options.num_trials)
        ]
        log_probs = trace.log_probs.gather(1, outputs[:, None])[:, 0]
        return HETATerms(flow.float(), torch.stack(curved).mean(0).float(), lost.float()), log_probs.float()

    def _test_derivatives(self, mode: str) -> None:
        if not self._gradients_tested:
            check_gradients(self._lm)
            self._gradients_tested = True
        if not self._tested and mode != "fisher":  # which takes first derivatives only
            check_second_derivatives(self._lm)
            self._tested = True

    def _bar(self, show: bool, total: int) -> Progress:
        return progress(desc=f"{self.get_name()} attribution", total=total) if show else NullProgress()


def _fresh_draws(estimator: CurvatureOptions, count: int) -> list[CurvatureOptions]:
    """``estimator`` itself and ``count`` - 1 others with seeds that follow from its own."""
    seeds = np.random.SeedSequence(estimator.seed).generate_state(count - 1).tolist()
    return [estimator, *(replace(estimator, seed=seed) for seed in seeds)]
