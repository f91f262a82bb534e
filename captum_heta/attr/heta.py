"""HETA: Hessian-Enhanced Token Attribution (Pramanik et al., ICLR 2026, arXiv 2604.13258)."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, overload

import torch
from torch import Tensor

from captum_heta.attr.base import OutputAttributions, Task
from captum_heta.attr.heta_terms import HETATerms, TargetedTerms, fused, fused_with_outputs
from captum_heta.attr.refinement import in_parts
from captum_heta.attr.sequence_terms import SequenceTerms, joined
from captum_heta.attr.sequences import Tested, contrast_of_row, sequences
from captum_heta.attr.task import Scorer
from captum_heta.attr.weighted import WeightedAttribution
from captum_heta.features import Features
from captum_heta.options import HETAOptions, Options, TargetedOptions
from captum_heta.prompts import baselines_of_row


class HETA(WeightedAttribution[HETAOptions]):
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
        TypeError: if the model is not a causal language model; when it attributes, if something carries its tokens on
            that is not found, for a quantized model without right second derivatives, and for ``last_n_layers`` with a
            model whose layers are in no list.
        RuntimeError: when it attributes, if the model returns no attention or second derivatives that are not finite.

    Example::

        >>> scores, terms = HETA(model).attribute(input_ids, return_terms=True)
        >>> scores.shape == terms.curvature.shape == input_ids.shape  # (B, n)
        True
    """

    terms_type: ClassVar[type | None] = HETATerms
    takes_position_ids: ClassVar[bool] = True
    takes_media: ClassVar[bool] = True

    def __init__(self, forward_func: Any) -> None:
        super().__init__(forward_func)
        self._tested = Tested(self._lm)

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
        features = len(task.features) + (len(task.outputs) if task.earlier and task.per_token else 0)
        return features * (1 + estimates * task.num_trials)

    def _options_of_row(self, options: HETAOptions, input_ids: Tensor, row: int, places: Tensor) -> HETAOptions:
        return replace(
            options,
            baselines=baselines_of_row(options.baselines, input_ids, row, places),
            contrast=contrast_of_row(self._lm, options.contrast, len(input_ids), row),
        )

    def _scores(self, task: Task, options: HETAOptions) -> OutputAttributions:
        return self._scorer(task, options).score(task.features)

    def _scorer(self, task: Task, options: HETAOptions) -> Scorer:
        return self._scoring(task, options, self._parts(task, options))

    def _weighing(self, task: Task, options: HETAOptions) -> Callable[[Tensor], Scorer]:
        parts = self._parts(task, options)

        def weighing(weights: Tensor) -> Scorer:
            return self._scoring(replace(task, weights=weights), options, [part.weighing(weights) for part in parts])

        return weighing

    def _parts(self, task: Task, options: HETAOptions) -> list[SequenceTerms]:
        self._tested.check(options.curvature)
        return [
            SequenceTerms(
                some,
                options,
                self._batch(options, len(some.ids), len(some.outputs)),
                self._batch(options, len(some.ids), 1, products=True),
            )
            for some in sequences(self._lm, task, options.contrast)
        ]

    def _scoring(self, task: Task, options: HETAOptions, parts: list[SequenceTerms]) -> Scorer:
        def scored(features: Features) -> OutputAttributions:
            if task.earlier and task.per_token:
                pairs = [part.with_outputs(features) for part in parts]
                found, outputs = (joined(list(side)) for side in zip(*pairs, strict=True))
                scores, output_scores = fused_with_outputs(found.terms, outputs.terms, options)
            else:
                found, output_scores = joined([part.of(features) for part in parts]), None
                scores = fused(found.terms, options)
            if options.fusion == "product":
                self._warn_unsupported(task, options, scores)
            chosen = {"flow": options.flow, "information": options.information, "fusion": options.fusion}
            log_probs = torch.cat([part.log_probs for part in parts])
            about = found.about | chosen
            about |= {"attention_sink": about.get("attention_sink") or None}  # none is nothing to tell
            return OutputAttributions(scores, log_probs, found.terms, about, found.errors, output_scores)

        def spread(found: OutputAttributions, features: Features, owners: Tensor) -> OutputAttributions:
            """Of a group each feature has its own gate and curvature, as these cost no pass, and an equal part else."""
            own = joined([part.cheaply(features) for part in parts])
            gate, curvature, _ = own.terms
            alone = torch.bincount(owners)[owners] == 1
            unknown = alone | curvature.isnan()
            curved = in_parts(found.terms[1], owners).where(unknown, curvature)
            terms = type(found.terms)(gate, curved, in_parts(found.terms[2], owners))
            assert found.errors is not None
            errors = in_parts(found.errors, owners).where(unknown, own.errors)
            return found._replace(scores=fused(terms, options), terms=terms, errors=errors)

        return Scorer(scored, spread)

    def _warn_unsupported(self, task: Task, options: HETAOptions, scores: Tensor) -> None:
        """Tell of outputs that nothing in the prompt supports; one that is compared with itself is none."""
        without = (scores.sum(-1) == 0).tolist()
        if options.contrast is not None and task.per_token:
            others = torch.as_tensor(options.contrast, device=task.outputs.device).flatten()
            without = [
                empty and output != other
                for empty, output, other in zip(without, task.outputs.tolist(), others.tolist(), strict=True)
            ]
        numbers = [number for number, empty in enumerate(without) if empty]
        if numbers and len(task.features):
            which = "the output" if len(without) == 1 else f"output token(s) {numbers}"
            if task.weights is not None:
                first, last = (task.weights.nonzero()[[0, -1], 0] + len(task.input_ids)).tolist()
                several = f"positions {first} to {last}, explained as one,"
                which = f"the output at {several if first < last else f'position {first},'}"
            warnings.warn(
                f"Nothing in the prompt supports {which} of {type(self.model).__name__}: no feature has flow, "
                "curvature, and a log-probability that falls without it. The scores are 0; the terms say more.",
                stacklevel=2,
            )


class TargetedHETA(HETA):
    """Attr(i) = G[i] sqrt(S[i]) D[i] over its sum: HETA that asks about the target; ours, beyond the paper.

    On pretrained models Eq. 5 shows the attention sink: its gate follows attention, most of which goes to the first
    token, and its information is of the whole prediction. Three changes turn to the target: G is the share of token i
    in what attention really adds to the residual stream on the way to the target (Ferrando & Voita 2024, arXiv
    2403.00824), D by how much log P(target) falls when the token is masked by the vocabulary's mean embedding, and a
    product asks for all three. S is the curvature of HETA, in its mode "fisher" unless something else is chosen; its
    root counts, which is of first order as the others are.

    Scores are shares: non-negative, and of sum 1 for each output token, or all 0, with a warning, where nothing in the
    prompt supports it. Everything else is as in `HETA`, of which these are three options.

    Args:
        forward_func: as in `HETA`.

    Raises:
        TypeError: as `HETA`; when it attributes, for a model whose residual stream cannot be followed.

    Example::

        >>> scores, terms = TargetedHETA(model).attribute(input_ids, return_terms=True)
        >>> bool((scores.sum(-1) - 1).abs().max() < 1e-5)  # shares, of each prompt in the batch
        True
        >>> terms.target_information.shape == input_ids.shape  # in nats
        True
    """

    options_type: ClassVar[type[Options]] = TargetedOptions
    terms_type: ClassVar[type | None] = TargetedTerms
