"""Several attribution methods on one prompt and one target: ``compare``."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from captum.attr import (
    Attribution,
    InterpretableInput,
    LLMAttribution,
    LLMAttributionResult,
    LLMGradientAttribution,
    TextTemplateInput,
    TextTokenInput,
)
from torch import Tensor

from captum_heta.attr import LLMTokenAttribution, TokenAttribution
from captum_heta.attr._captum import NullProgress, progress
from captum_heta.attr.watching import watcher
from captum_heta.comparison.contrast import OPTION, both_outputs, check_options, explains_contrast, without_contrast
from captum_heta.comparison.interruption import ComparisonInterrupt
from captum_heta.comparison.models import language_models, tightest, undisturbed
from captum_heta.comparison.refinement import OPTION as REFINE
from captum_heta.comparison.refinement import check_refine, takes_refine
from captum_heta.comparison.result import Comparison, Failure
from captum_heta.inputs import LocatedInput, TextInput
from captum_heta.inputs.target import chosen_outputs
from captum_heta.methods import NAMED, named_methods
from captum_heta.models import LanguageModel
from captum_heta.prompts import check_length
from captum_heta.provenance import now, of_model, versions
from captum_heta.tokenizers import Tokenizer

# Prompt and target to a score for each feature of the input.
PlainMethod = Callable[[str, str], Any]


def compare(
    methods: Mapping[str, Any] | Sequence[str],
    tokenizer: Tokenizer,
    inp: str | InterpretableInput,
    target: str | Tensor | None = None,
    *,
    contrast: str | Tensor | None = None,
    refine: float | None = None,
    model: Any = None,
    gen_args: dict[str, Any] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    show_progress: bool = False,
) -> Comparison:
    """Explain one target by several methods, each through Captum's LLM interface.

    A method that fails is reported under its name, and the others go on; so is one whose scores are not finite. After
    Ctrl-C what was computed is in the attribute ``comparison`` of the error.

    Args:
        methods: by the name that each has in tables: an attribution method of this package or of Captum, made with a
            model; one that is wrapped already (`LLMTokenAttribution`, `LLMAttribution`, `LLMGradientAttribution`); or
            any function of prompt and target, two texts, that returns a score for each feature of ``inp``. Or a list of
            short names, such as ``["heta", "ig"]``, which `captum_heta.methods.METHODS` has, and `PEERS` beside it
            those of other packages; they need ``model``.
        tokenizer: the tokenizer of the models.
        inp: a TextTokenInput or TextTemplateInput, such as a `ChatInput` or a `DocumentsInput`; or text, whose tokens
            except the special ones are the features.
        target: what is explained, as text or token ids (K,). None lets the first method's model generate it, once.
        contrast: what the target is compared with, as text or as many token ids: methods that have the option explain
            log P(target) - log P(contrast), why the one and not the other, and the others the target alone, which is
            told beside them. Two texts are compared up to the first token in which they differ, by all methods.
        refine: coarse to fine, as in `LLMTokenAttribution.attribute`: methods of this package that explain tokens look
            at larger parts of the prompt first, and then at what is in its end and in those that hold this share of
            their score, in (0, 1]. Captum's methods, functions, and methods with features of their own (the sentences
            of ContextCite, a ``feature_mask`` among the options) run in full, which is told beside them. None looks at
            each feature.
        model: the model of methods that are named, a causal language model of transformers.
        gen_args: arguments of ``model.generate``; only without ``target``. None generates greedily, as Captum does,
            up to the end of the models' positions.
        options: by the name of a method, arguments of its ``attribute``, such as ``{"ig": {"n_steps": 20}}``; a
            ``refine`` among them stands for the one of all. Captum's perturbation methods get
            ``use_cached_outputs=False``, without which Captum 0.9 is wrong on transformers 5.
        show_progress: show a progress bar of the methods.

    Raises:
        TypeError: for something that is no attribution method, and an input of another kind.
        ValueError: if there are no methods, options for none of them, nothing to explain, a contrast that no method
            explains or that is no other output, a ``refine`` outside (0, 1] or that no method does anything with, or
            prompt and target are longer than a method's model can read.
        ComparisonInterrupt: a KeyboardInterrupt, after one during the methods.

    Example::

        >>> found = compare(["heta", "ablation"], tokenizer, "Anna lives in Rome. Anna lives in", "Rome", model=model)
        >>> found.names
        ['HETA', 'Feature Ablation']
        >>> figure, axes = found.plot()
    """
    if not isinstance(methods, Mapping):
        titles = {short: method.title for short, method in NAMED.items()}
        options = {titles.get(name, name): some for name, some in (options or {}).items()}
    methods, options = _methods(methods, model, tokenizer), options or {}
    unknown = [name for name in options if name not in methods]
    if unknown:
        raise ValueError(f"options are for {unknown[0]!r}, which is not among the methods {', '.join(methods)}.")
    if not isinstance(inp, str | TextTokenInput | TextTemplateInput):
        raise TypeError(f"inp must be text, a TextTokenInput or a TextTemplateInput, got {type(inp).__name__}.")
    wrapped = {name: _wrapped(name, method, tokenizer) for name, method in methods.items()}
    check_options(wrapped, options)
    check_refine(refine, wrapped, options)
    if contrast is not None and not any(map(explains_contrast, wrapped.values())):
        raise without_contrast(wrapped)
    # before anything that takes longer the longer the text is
    models = language_models(wrapped.values())
    limit, length = tightest(models), _length(inp, tokenizer)
    if limit is not None:
        check_length(limit, length)
    prompt = LocatedInput(TextInput(inp, tokenizer) if isinstance(inp, str) else inp, tokenizer)
    outputs = chosen_outputs(target, gen_args, prompt, models[0] if models else None)
    others = None
    if contrast is not None:
        outputs, others = both_outputs(contrast, outputs, prompt, models[0])
    if limit is not None:
        check_length(limit, length + len(outputs) - 1)
    found = Comparison(
        prompt.text,
        prompt.places,
        prompt.labels,
        tokenizer.decode(outputs),
        groups=prompt.groups,
        provenance=_provenance(models, options) | ({} if refine is None else {REFINE: refine}),
        contrast=None if others is None else tokenizer.decode(others),
    )
    given = {name: dict(options.get(name, {})) for name in wrapped}
    for name, method in wrapped.items():
        if others is not None and explains_contrast(method):
            given[name][OPTION] = others
        if refine is not None and takes_refine(method, given[name]):
            given[name].setdefault(REFINE, refine)
    try:
        _run(found, wrapped, prompt, outputs, given, show_progress)
    except KeyboardInterrupt as stop:
        for name in wrapped:
            found.seconds.setdefault(name, 0.0)
            if name not in found.results and name not in found.failures:
                found.failures[name] = Failure("KeyboardInterrupt", "interrupted")
        raise ComparisonInterrupt(found) from stop
    return found


def _methods(methods: Mapping[str, Any] | Sequence[str], model: Any, tokenizer: Tokenizer) -> Mapping[str, Any]:
    """The methods by their names in tables."""
    if not methods:
        raise ValueError("There are no methods to compare.")
    if isinstance(methods, Mapping):
        if model is not None:
            raise ValueError(
                "model is of methods that are named by text; these have models of their own: leave it out."
            )
        return methods
    if isinstance(methods, str) or not all(isinstance(name, str) for name in methods):
        raise TypeError(
            f"methods must be a mapping from names to methods, or a list of short names such as ['heta', 'ig'], got "
            f"{methods!r:.80}."
        )
    if model is None:
        raise ValueError("Methods that are named by text need the model that they explain: pass model=....")
    return named_methods(methods, model, tokenizer)


def _provenance(models: Sequence[LanguageModel], options: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the numbers are made with."""
    given = {f"{name} {option}": repr(value) for name, some in options.items() for option, value in some.items()}
    return (of_model(models[0].model) if models else {}) | {"options": given, "versions": versions(), "date": now()}


def _run(
    found: Comparison,
    methods: Mapping[str, Any],
    prompt: LocatedInput,
    outputs: Tensor,
    options: Mapping[str, dict[str, Any]],
    show_progress: bool,
) -> None:
    """Put the result of each method into ``found``, or why it has none."""
    with progress(desc="methods", total=len(methods)) if show_progress else NullProgress() as bar:
        for number, (name, method) in enumerate(methods.items(), start=1):
            watcher().method(name, number, len(methods))
            start = time.perf_counter()
            try:
                with undisturbed(method):
                    result = _attributed(method, prompt, outputs, options[name])
                _check(result, len(prompt.labels))
            except Exception as error:  # of whatever kind: it is another method's, and told
                found.failures[name] = Failure(type(error).__name__, str(error))
            else:
                found.results[name] = result
            finally:
                found.seconds[name] = time.perf_counter() - start
            bar.update(1)


def _check(result: LLMAttributionResult, count: int) -> None:
    """Raise ValueError for what cannot stand beside other results: other features, or numbers that are not finite."""
    _check_shape(result.seq_attr, count)
    terms = getattr(result, "terms", None)
    for what, several in (
        ("scores", (result.seq_attr, result.token_attr)),
        ("probabilities", (result.output_probs,)),
        ("terms", [values.nan_to_num(0) for values in terms or ()]),  # what a product did not need is NaN
    ):
        for values in several:
            if values is not None and (values.is_complex() or not values.float().isfinite().all()):
                raise ValueError(f"its {what} are not finite.")


def _check_shape(scores: Tensor, count: int) -> None:
    if tuple(scores.shape) != (count,):
        raise ValueError(f"expected a score for each of the {count} features, got {tuple(scores.shape)}.")


def _length(inp: str | TextTokenInput | TextTemplateInput, tokenizer: Tokenizer) -> int:
    """How many tokens the prompt has."""
    if isinstance(inp, TextTokenInput):
        return inp.inp_tensor.shape[1]
    return len(tokenizer.encode(inp if isinstance(inp, str) else inp.to_model_input()))


def _wrapped(name: str, method: Any, tokenizer: Tokenizer) -> Any:
    if isinstance(method, LLMAttribution | LLMGradientAttribution):
        return method
    if isinstance(method, TokenAttribution):
        return LLMTokenAttribution(method, tokenizer)
    if isinstance(method, LLMGradientAttribution.SUPPORTED_METHODS):
        return LLMGradientAttribution(method, tokenizer)
    if isinstance(method, LLMAttribution.SUPPORTED_METHODS):
        return LLMAttribution(method, tokenizer)
    if isinstance(method, Attribution) or not callable(method):
        raise TypeError(
            f"{name!r} is a {type(method).__name__}, which Captum does not wrap for language models. Pass a method of "
            "captum_heta, one that LLMAttribution or LLMGradientAttribution supports, or a function of prompt and "
            "target."
        )
    return method


def _attributed(method: Any, prompt: LocatedInput, outputs: Tensor, options: dict[str, Any]) -> LLMAttributionResult:
    if isinstance(method, LLMAttribution) and not isinstance(method, LLMTokenAttribution):
        # Captum 0.9 reads the whole text again behind the key-value cache of transformers 5, and its scores of all
        # output tokens but the first are then of another text
        options.setdefault("use_cached_outputs", False)
    if isinstance(method, LLMAttribution | LLMGradientAttribution):
        return method.attribute(prompt.inp, target=outputs, **options)
    decode = prompt.tokenizer.decode
    scores = torch.as_tensor(method(prompt.text, decode(outputs), **options)).detach().cpu()
    _check_shape(scores, len(prompt.labels))  # which Captum asserts
    labels = [decode(token) for token in outputs[:, None]]
    return LLMAttributionResult(input_tokens=prompt.labels, output_tokens=labels, seq_attr=scores, inp=prompt.inp)
