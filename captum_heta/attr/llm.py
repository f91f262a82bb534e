"""Captum's LLM interface for the methods of this package."""

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from captum.attr import InterpretableInput, LLMAttribution, LLMAttributionResult, TextTemplateInput, TextTokenInput
from torch import Tensor

from captum_heta.attr._captum import pretty_tokens
from captum_heta.attr.base import TokenAttribution, finite
from captum_heta.features import Features
from captum_heta.inputs import ChatInput
from captum_heta.models import LanguageModel, generated, greedy
from captum_heta.text import NO_OFFSETS, sentence_spans, spans_of_ids, token_spans, value_spans

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class LLMTokenAttributionResult(LLMAttributionResult):
    """Captum's result with the terms that the scores are made of.

    Attributes:
        terms: for HETA a named tuple of semantic_flow, curvature and information, each
            (n_output_tokens, n_features), or (1, n_features) without ``per_token``; None for methods that have no
            terms.
    """

    def __init__(self, *, terms: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.terms = terms

    @property
    def seq_attr_dict(self) -> dict[str, float]:
        """The score of each feature by its label; of labels that are the same, all but the first have a number."""
        return dict(zip(_distinct(self.input_tokens), self.seq_attr.tolist(), strict=True))

    def plot_token_attr(self, show: bool = False) -> "tuple[Figure, Axes] | None":
        """Captum's heat map of the output tokens' scores."""
        return _plotted(super().plot_token_attr(), show)

    def plot_seq_attr(self, show: bool = False) -> "tuple[Figure, Axes] | None":
        """Captum's bars of the whole output's scores."""
        return _plotted(super().plot_seq_attr(), show)


def _distinct(labels: Sequence[str]) -> list[str]:
    found: list[str] = []
    for label in labels:
        number = 2
        name = label
        while name in found:
            name, number = f"{label} ({number})", number + 1
        found.append(name)
    return found


def _plotted(plot: Any, show: bool) -> "tuple[Figure, Axes] | None":
    """A plot of Captum's, whose labels are text: matplotlib would read what is between two dollar signs as formulas."""
    figure, axes = plot
    for label in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
        label.set_parse_math(False)
    if not show:
        return figure, axes
    import matplotlib.pyplot as plt

    plt.show()
    return None


class LLMTokenAttribution(LLMAttribution):
    """Wraps a method of this package as `captum.attr.LLMAttribution` wraps Captum's perturbation methods.

    One teacher-forced pass over prompt and outputs serves all output tokens.

    Args:
        attr_method: an instance of `HETA` or another `TokenAttribution`. It keeps working by itself.
        tokenizer: the tokenizer of its model.
        attr_target: "log_prob", the only target these methods are defined for.

    Example::

        >>> llm_attr = LLMTokenAttribution(HETA(model), tokenizer)
        >>> result = llm_attr.attribute(TextTokenInput(prompt, tokenizer), target=" Paris")
        >>> result.plot_token_attr(show=True)
    """

    SUPPORTED_METHODS = (TokenAttribution,)
    SUPPORTED_PER_TOKEN_ATTR_METHODS = (TokenAttribution,)
    SUPPORTED_INPUTS = (TextTemplateInput, TextTokenInput)

    def __init__(self, attr_method: TokenAttribution, tokenizer: Any, attr_target: str = "log_prob") -> None:
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
        **kwargs: Any,
    ) -> LLMTokenAttributionResult:
        """Attribute each output token, given the prompt and the outputs before it, to the features of the prompt.

        Args:
            inp: a TextTokenInput, whose features are its tokens except the skipped ones (a ChatInput is one), or a
                TextTemplateInput, whose features are its values (a DocumentsInput is one). Their baselines are
                of Captum's perturbation methods; for HETA's pass ``baselines``.
            target: the output as text or token ids (K,). None lets the model generate it.
            num_trials: average over as many fresh draws of the method's probes.
            gen_args: arguments of ``model.generate``; only without ``target``. None generates greedily, as Captum does.
            use_cached_outputs: how Captum's methods decode; here one pass over prompt and output gives all
                log-probabilities, which are the same either way.
            _inspect_forward: called with the prompt, the output and the probabilities of the output and of each of
                its tokens.
            forward_in_tokens: likewise.
            per_token: attribute each output token by itself. Otherwise the joint log-probability of the output, at the
                cost of one token: ``seq_attr`` alone, which is then not a sum over tokens, and no ``token_attr``.
            **kwargs: the method's options; also ``feature_mask``, integers (n_features,) or (1, n_features): features
                with the same number are attributed as one, and each carries its score.

        Returns:
            ``token_attr`` (K, n_features), ``seq_attr`` its sum over the outputs, ``output_probs`` (K,), and ``terms``.
            ``token_attr`` is None for methods that explain the output as a whole.

        Raises:
            ValueError: for an empty prompt or target, no features, and as the method's ``attribute`` does.
        """
        if not isinstance(inp, self.SUPPORTED_INPUTS):
            raise TypeError(f"inp must be a TextTokenInput or a TextTemplateInput, got {type(inp).__name__}.")
        if target is not None and gen_args is not None:
            raise ValueError("gen_args generate a target: pass them or a target, not both.")
        ids, features = self._tokenized(inp)
        outputs = self._outputs(inp, target, gen_args)
        mask = kwargs.pop("feature_mask", None)
        if mask is None and self.attr_method.sources == "sentence" and isinstance(inp, TextTokenInput):
            mask = inp.sentence_mask() if isinstance(inp, ChatInput) else self._sentences(ids, features)
        found, spread = self._grouped(features, mask)
        result = finite(
            self.attr_method,
            self.attr_method.attribute_outputs(
                ids, outputs, found, num_trials=num_trials, per_token=per_token, **kwargs
            ),
        )
        probs = result.log_probs.exp()
        if _inspect_forward is not None:
            prompt, response = self.tokenizer.decode(ids), self.tokenizer.decode(outputs)
            _inspect_forward(prompt, response, [probs.prod().item(), *probs.tolist()])

        def formatted(scores: Tensor) -> Tensor:
            return inp.format_attr(spread(scores))

        token_attr = formatted(result.scores)
        return LLMTokenAttributionResult(
            seq_attr=token_attr.sum(0),
            token_attr=token_attr if per_token and self.attr_method.explains_each_token else None,
            output_probs=probs,
            input_tokens=[str(value) for value in inp.values],
            output_tokens=self._labels(outputs),
            inp=inp,
            terms=None if result.terms is None else type(result.terms)(*map(formatted, result.terms)),
        )

    def _tokenized(self, inp: TextTokenInput | TextTemplateInput) -> tuple[Tensor, Features]:
        """The prompt's token ids (n,) and the interpretable features among them."""
        if isinstance(inp, TextTokenInput):
            ids = inp.inp_tensor[0]
            kept = torch.ones_like(ids, dtype=torch.bool) if inp.itp_mask is None else inp.itp_mask[0]
            features = Features.of_tokens(kept.nonzero().flatten().tolist())
        else:
            text_ids, spans = token_spans(inp.to_model_input(), self.tokenizer)
            ids = torch.tensor(text_ids, dtype=torch.long, device="cpu")
            values = value_spans(inp)
            places = range(len(values)) if inp.mask is None else inp.formatted_mask
            ranges = [
                [span for value, place in zip(values, places, strict=True) if place == i for span in value]
                for i in range(inp.n_itp_features)
            ]
            features = Features.of_spans(ranges, spans)
        if ids.numel() == 0:
            raise ValueError("The prompt is empty: there is no token to attribute the output to.")
        if len(features) == 0:
            raise ValueError(
                "The prompt has nothing to attribute the output to: all its tokens are skipped, or its template has no "
                "values."
            )
        return ids.to(self.device), features

    def _outputs(self, inp: InterpretableInput, target: str | Tensor | None, gen_args: dict[str, Any] | None) -> Tensor:
        if target is None:
            prompt = inp.inp_tensor if isinstance(inp, TextTokenInput) else self._tokenized(inp)[0][None]
            room = LanguageModel(self.attr_method.model).room(prompt.shape[1])
            outputs = generated(self.attr_method.model, prompt, **(greedy(room) if gen_args is None else gen_args))
        elif isinstance(target, str):
            ids = self.tokenizer.encode(target, add_special_tokens=False)
            outputs = torch.tensor(ids, dtype=torch.long, device="cpu")
        else:
            outputs = target
        if not isinstance(outputs, Tensor):
            raise TypeError(f"target must either be str or Tensor, got {type(outputs).__name__}.")
        if outputs.dtype not in (torch.int64, torch.int32):
            raise ValueError(f"target must be token ids, an integer tensor, got {outputs.dtype}.")
        if outputs.ndim != 1:
            raise ValueError(
                f"target must be text or token ids of shape (K,), got a tensor of shape {tuple(outputs.shape)}."
            )
        if outputs.numel() == 0:
            origin = "The model generated nothing" if target is None else f"The target {target!r} encodes to no token"
            raise ValueError(f"{origin}: there is no output to explain. Pass a target with at least one token.")
        return outputs.to(self.device, torch.long)

    def _sentences(self, ids: Tensor, features: Features) -> Tensor:
        """The number of the sentence of each feature, a token; (F,). Tokens outside all of them stay by themselves."""
        text, spans = spans_of_ids(ids.tolist(), self.tokenizer)
        sentences = Features.of_spans([[sentence] for sentence in sentence_spans(text)], spans)
        numbers = {token: i for i, group in enumerate(sentences.groups) for token in group}
        own = itertools.count(len(sentences))
        return torch.tensor([numbers.get(token, next(own)) for (token,) in features.groups], device="cpu")

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
