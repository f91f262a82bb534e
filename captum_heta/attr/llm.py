"""Captum's LLM interface for the methods of this package."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from captum.attr import InterpretableInput, LLMAttribution, TextTemplateInput, TextTokenInput
from torch import Tensor

from captum_heta.attr._captum import pretty_tokens
from captum_heta.attr.base import TokenAttribution
from captum_heta.attr.reasoning import ReasoningTrace
from captum_heta.attr.result import LLMTokenAttributionResult
from captum_heta.attr.tracing import Tracing
from captum_heta.attr.weighted import WeightedAttribution
from captum_heta.checks import check_count, check_part
from captum_heta.features import Features
from captum_heta.inputs import LocatedInput
from captum_heta.inputs.offsets import NO_OFFSETS
from captum_heta.inputs.reasoning import reasoned
from captum_heta.inputs.said import sentences_said
from captum_heta.inputs.target import chosen_outputs, contrasted
from captum_heta.provenance import now, of_model, versions
from captum_heta.spans import Piece
from captum_heta.tokenizers import Tokenizer


class LLMTokenAttribution(LLMAttribution):
    """Wraps a method of this package as `captum.attr.LLMAttribution` wraps Captum's perturbation methods.

    One teacher-forced pass over prompt and outputs serves all output tokens.

    Args:
        attr_method: an instance of `HETA` or another `TokenAttribution`. It keeps working by itself.
        tokenizer: the tokenizer of its model.
        attr_target: "log_prob", the only target these methods are defined for.

    Example::

        >>> llm_attr = LLMTokenAttribution(HETA(model), tokenizer)
        >>> inp = TextInput("Anna lives in Rome. Question: Where does Anna live? Answer:", tokenizer)
        >>> result = llm_attr.attribute(inp, target="Rome")
        >>> result.pieces[result.seq_attr.argmax()]
        ' Rome'
        >>> figure, axes = result.plot_text()
    """

    SUPPORTED_METHODS = (TokenAttribution,)
    SUPPORTED_PER_TOKEN_ATTR_METHODS = (TokenAttribution,)
    SUPPORTED_INPUTS = (TextTemplateInput, TextTokenInput)

    def __init__(self, attr_method: TokenAttribution, tokenizer: Tokenizer, attr_target: str = "log_prob") -> None:
        if not isinstance(attr_method, TokenAttribution):
            raise TypeError(
                f"LLMTokenAttribution wraps methods of captum_heta, got {type(attr_method).__name__}; Captum's own "
                "methods go into captum.attr.LLMAttribution or LLMGradientAttribution."
            )
        if attr_target != "log_prob":
            raise ValueError(
                f"{type(attr_method).__name__} explains log-probabilities: attr_target must be 'log_prob', "
                f"got {attr_target!r}."
            )
        super().__init__(attr_method, tokenizer, attr_target)

    def attribute(
        self,
        inp: InterpretableInput,
        target: str | Tensor | None = None,
        num_trials: int = 1,
        gen_args: dict[str, Any] | None = None,
        use_cached_outputs: bool = True,
        _inspect_forward: Callable[[str, str, list[float]], None] | None = None,
        forward_in_tokens: bool = True,
        *,
        per_token: bool = True,
        per_sentence: bool = False,
        refine: float | None = None,
        include_output: bool = False,
        **kwargs: Any,
    ) -> LLMTokenAttributionResult:
        """Attribute each output token, given the prompt and the outputs before it, to the features of the prompt.

        Args:
            inp: a TextTokenInput, whose features are its tokens except the skipped ones (a ChatInput is one; a
                MediaInput has pictures or sound besides, which are held fixed), or a
                TextTemplateInput, whose features are its values (a DocumentsInput is one). Their baselines are
                of Captum's perturbation methods; for HETA's pass ``baselines``.
            target: the output as text or token ids (K,). A text is taken with or without a space before it, as the
                model finds likelier, unless it has one or the prompt ends with one. None lets the model generate it;
                the token that ends it is left out.
            num_trials: average over as many fresh draws of the method's probes.
            gen_args: arguments of ``model.generate``; only without ``target``. None generates greedily, as Captum does.
            use_cached_outputs: how Captum's methods decode; here one pass over prompt and output gives all
                log-probabilities, which are the same either way.
            _inspect_forward: called with the prompt, the output and the probabilities of the output and of each of
                its tokens.
            forward_in_tokens: likewise.
            per_token: attribute each output token by itself. Otherwise the joint log-probability of the output, at the
                cost of one token: ``seq_attr`` alone, which is then not a sum over tokens, and no ``token_attr``.
            per_sentence: attribute each sentence of the output as one, for long answers: its log-probability, at the
                cost of one token; masked passes of HETA serve all sentences. Where results have output tokens, this one
                has sentences.
            refine: coarse to fine, for long prompts: the documents, messages, paragraphs or sentences of the prompt are
                looked at first, and then the features of those that hold this share of the score, such as 0.9, and of
                the prompt's end; features of the others have equal parts of their scores, or of HETA their own gate and
                curvature and an equal part of the information. None looks at each feature.
            include_output: attribute each output token to the outputs before it too: ``output_attr`` (K, K) of the
                result, from which it says what comes `through_output`; everything else is as without.
            **kwargs: the method's options. For a method with ``contrast``, it is text or as many token ids as the
                target; two texts are compared up to the first token in which they differ. Also ``feature_mask``,
                integers (n_features,) or (1, n_features): features with the same number are attributed as one, and
                each carries its score.

        Returns:
            ``token_attr`` (K, n_features), ``seq_attr`` its sum over the outputs, ``output_probs`` (K,), and ``terms``.
            ``token_attr`` is None for methods that explain the output as a whole.

        Raises:
            ValueError: for an empty prompt or target, no features, ``per_sentence`` with ``include_output``, without
                ``per_token`` or of an output whose tokens cannot be told in its text, and as the method's ``attribute``
                does.
            TypeError: for another input or target, and options that the method does not have.
        """
        prompt = LocatedInput(inp, self.tokenizer)
        outputs = chosen_outputs(target, gen_args, prompt, self.attr_method._lm)
        contrast = None
        if kwargs.get("contrast") is not None and "contrast" in self.attr_method.option_names():
            outputs, others = contrasted(kwargs["contrast"], outputs, prompt, self.attr_method._lm)
            kwargs["contrast"], contrast = others, self.tokenizer.decode(others)
        outputs = outputs.to(self.device)
        mask = kwargs.pop("feature_mask", None)
        if mask is None and self.attr_method.sources == "sentence":
            mask = prompt.sentence_mask()
        features, spread = self._grouped(prompt.features, mask)
        ids = torch.tensor(prompt.ids, device=self.device)
        parts = None
        if refine is not None:
            check_part("refine", refine, "the score", one=True)
            if mask is not None:
                raise ValueError("refine finds its own features: leave out refine, or feature_mask.")
            parts = prompt.parts()
        coarse = {} if parts is None else {"parts": parts[1], "refine": refine}
        if per_sentence and (include_output or not (per_token and self.attr_method.explains_each_token)):
            raise ValueError(
                "per_sentence is of outputs that are explained one by one, by what is in the prompt: leave it out, or "
                "include_output, per_token=False and methods that explain the output as a whole."
            )
        text = self.tokenizer.decode(outputs)
        said = sentences_said(text, outputs.tolist(), self.tokenizer) if per_sentence else None
        start = time.perf_counter()
        result = self.attr_method.attribute_outputs(
            ids,
            outputs,
            features,
            num_trials=num_trials,
            per_token=per_token,
            together=None if said is None else said.tokens,
            include_output=include_output,
            media=prompt.media,
            **coarse,
            **kwargs,
        )
        seconds = time.perf_counter() - start
        about, given = dict(result.about), kwargs | {"num_trials": num_trials}
        if include_output:
            given["include_output"] = True
        if refine is not None:
            given["refine"] = refine
            about["refined"] = None if parts is None else about["refined"].replace("parts", parts[0])
        if said is not None:
            given["per_sentence"] = True
            about["sentence_tokens"] = [len(group) for group in said.tokens.groups]
        probs = result.log_probs.exp()
        if _inspect_forward is not None:
            _inspect_forward(self.tokenizer.decode(ids), text, [probs.prod().item(), *probs.tolist()])

        def formatted(scores: Tensor) -> Tensor:
            return inp.format_attr(spread(scores))

        token_attr = formatted(result.scores)
        return LLMTokenAttributionResult(
            seq_attr=token_attr.sum(0),
            token_attr=token_attr if per_token and self.attr_method.explains_each_token else None,
            output_probs=probs if said is None else said.tokens.sum(result.log_probs.double()).exp(),
            input_tokens=prompt.labels,
            output_tokens=self._labels(outputs) if said is None else said.texts,
            inp=inp,
            terms=None if result.terms is None else type(result.terms)(*map(formatted, result.terms)),
            curvature_errors=None if result.errors is None else formatted(result.errors),
            method=self.attr_method.get_name(),
            target=text,
            contrast=contrast,
            output_attr=result.output_scores,
            located=prompt,
            output_ids=outputs.tolist() if said is None else None,
            output_spans=None if said is None else said.spans,
            provenance=self._provenance(
                given | ({} if contrast is None else {"contrast": contrast}),
                about,
                seconds,
            ),
        )

    def trace(
        self,
        inp: InterpretableInput,
        output: str | Tensor | None = None,
        *,
        reasoning: Piece = None,
        answer: Piece = None,
        hops: int = 3,
        refine: float | None = None,
        gen_args: dict[str, Any] | None = None,
        **options: Any,
    ) -> ReasoningTrace:
        """Follow an answer through the reasoning before it to the prompt.

        First the answer's log-probability is attributed to the sentences of the prompt and of the reasoning; what the
        reasoning has of it is then explained in the same way, and so on, until little is left in the reasoning
        (FlashTrace, arXiv 2602.01914). A hop costs one explanation of one token, whatever the lengths, and later ones
        less, as masked passes serve all of them.

        Args:
            inp: as in `attribute`.
            output: reasoning and answer, as text or token ids (K,); None lets the model generate them.
            reasoning: which output tokens are thought: a slice, a range or a number, or text of which the first place
                counts; None for what stands between <think> and </think>, or other marks of that kind.
            answer: which output tokens are explained, of a text the last place; None for all behind the reasoning.
            hops: how many explanations at most; none is made for less than 0.001 of the answer.
            refine: tokens as features, coarse to fine: sentences are looked at first, and then the tokens of those that
                hold this share of the score. None: sentences are the features.
            gen_args: arguments of ``model.generate``; only without ``output``.
            **options: the method's, but for ``contrast``; and ``show_progress``.

        Raises:
            ValueError: for an output without such parts, and as `attribute` does.
            TypeError: for a method that explains no weighted sums; HETA, TargetedHETA and GradientNorm do.
        """
        check_count("hops", hops)
        method = self.attr_method
        if not isinstance(method, WeightedAttribution):
            raise TypeError(
                f"{method.get_name()} does not explain a weighted sum of log-probabilities: HETA, TargetedHETA and "
                "GradientNorm do. attribute(..., include_output=True) and through_output() are for all methods."
            )
        prompt = LocatedInput(inp, self.tokenizer)
        outputs = chosen_outputs(output, gen_args, prompt, self.attr_method._lm).to(self.device)
        found = reasoned(outputs.tolist(), self.tokenizer, reasoning, answer)
        start = time.perf_counter()
        traced = Tracing(method, prompt, outputs, found, refine, options).run(hops)
        given = options | {"hops": hops} | ({} if refine is None else {"refine": refine})
        about = self._provenance(given, {"hops": len(traced.hops)}, time.perf_counter() - start)
        return replace(traced, provenance=about)

    def _provenance(self, options: Mapping[str, Any], about: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """How the numbers of a call were made."""
        method = self.attr_method
        chosen = {name: value for name, value in options.items() if name != "show_progress"}
        given = {
            name: value if isinstance(value, str | int | float | None) else repr(value)
            for name, value in chosen.items()
        }
        if method.draws():
            given.setdefault("seed", method.options_type().seed)
        return {
            "method": method.get_name(),
            **about,
            "options": given,
            **of_model(method.model),
            "versions": versions(),
            "date": now(),
            "seconds": round(seconds, 3),
        }

    @staticmethod
    def _grouped(features: Features, mask: Tensor | None) -> tuple[Features, Callable[[Tensor], Tensor]]:
        """The features to attribute, and how their scores spread over the input's own."""
        if mask is None:
            return features, lambda scores: scores
        groups = torch.as_tensor(mask, device="cpu").flatten()
        if groups.dtype not in (torch.int64, torch.int32) or len(groups) != len(features):
            raise ValueError(
                f"feature_mask must have one integer for each of the {len(features)} features of the input, got "
                f"{tuple(groups.shape)} {groups.dtype}."
            )
        index = groups.unique(return_inverse=True)[1]
        return features.merged(groups), lambda scores: scores[..., index.to(scores.device)]

    def _labels(self, outputs: Tensor) -> list[str]:
        try:
            # Captum encodes the decoded output again, and loses its way if that gives other tokens
            again = self.tokenizer.encode(self.tokenizer.decode(outputs), add_special_tokens=False)
            if list(again) == outputs.tolist():
                return pretty_tokens(outputs, self.tokenizer)
        except NO_OFFSETS:  # which Captum's labels are made from
            pass
        return [self.tokenizer.decode(token).strip() for token in outputs[:, None]]
