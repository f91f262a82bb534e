"""The scores of a result, and where in the prompt and the output they are."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from captum.attr import LLMAttributionResult
from torch import Tensor

from captum_heta.attr.answer import answered
from captum_heta.attr.recursion import parts_of, through
from captum_heta.inputs import LocatedInput
from captum_heta.inputs.offsets import spans_in
from captum_heta.inputs.parts import summed
from captum_heta.inputs.places import flat, spread, texts
from captum_heta.spans import Piece, Span
from captum_heta.visualization.signs import label

if TYPE_CHECKING:
    from captum_heta.attr.sources import Sources


class LocatedResult(LLMAttributionResult):
    """`captum_heta.LLMTokenAttributionResult`, which documents arguments and attributes, without its pictures.

    F are the features of the prompt, K the output tokens.
    """

    def __init__(
        self,
        *,
        terms: Any = None,
        method: str = "",
        target: str = "",
        contrast: str | None = None,
        located: LocatedInput | None = None,
        prompt: str | None = None,
        places: list[list[Span]] | None = None,
        groups: list[str] | None = None,
        documents: list[str] | None = None,
        output_ids: Sequence[int] | None = None,
        output_spans: list[Span] | None = None,
        curvature_errors: Tensor | None = None,
        output_attr: Tensor | None = None,
        provenance: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.terms, self.method, self.curvature_errors = terms, method, curvature_errors
        self.output_attr = output_attr
        self.target = target or "".join(self.output_tokens)
        self.contrast = contrast
        self.groups = groups if located is None else located.groups
        self.documents = documents if located is None else located.documents
        self.provenance: dict[str, Any] = dict(provenance or {})
        self._located, self._prompt, self._places = located, prompt, places
        self._output_ids, self._output_spans = output_ids, output_spans

    @property
    def prompt(self) -> str:
        """The text.

        Raises:
            ValueError: if the result was made without one, and as `places` does.
        """
        return self._needed(self._prompt if self._located is None else self._located.text)

    @property
    def places(self) -> list[list[Span]]:
        """The characters [start, end) of each feature in the prompt; a template's value may be there several times.

        Raises:
            ValueError: if the result was made without a prompt, or its tokenizer does not say where its tokens are.
        """
        return self._needed(self._places if self._located is None else self._located.places)

    @property
    def spans(self) -> list[Span]:
        """The places of all features, one after the other."""
        return flat(self.places)

    @cached_property
    def pieces(self) -> list[str]:
        """The text of each feature; Captum's label where it has none of its own."""
        return texts(self.prompt, self.places, self.input_tokens)

    def spread(self, scores: Sequence[float]) -> list[float]:
        """Scores of the features as those of `spans`."""
        return spread(scores, self.places)

    @property
    def rows(self) -> Tensor:
        """The scores of each output token, (K, F); (1, F) for a method that explains the output as a whole."""
        return rows_of(self)

    @property
    def shares(self) -> Tensor:
        """Each output token's scores over the sum of their magnitudes, (K, F); (1, F) for an output as a whole.

        So that a token that the model found unlikely does not drown the others. A row of zeros stays so.
        """
        return shares_of(self.rows)

    def through_output(self) -> Tensor:
        """What each output token takes from the prompt, directly and through the outputs before it, (K, F), float32.

        With prompt and earlier outputs as shares of both together, A (K, F) and B (K, K), it is (1 - B)^-1 A; negative
        scores count as 0. Rows sum to 1, but where an output, or one that it goes through, has no scores.

        Raises:
            ValueError: for a result without ``output_attr``.
        """
        return through(*parts_of(self.rows, self._earlier())).float()

    def direct_and_earlier(self) -> tuple[Tensor, Tensor]:
        """A (K, F) and B (K, K) of `through_output`: the prompt's and the earlier outputs' shares, float32.

        Raises:
            ValueError: for a result without ``output_attr``.
        """
        direct, earlier = parts_of(self.rows, self._earlier())
        return direct.float(), earlier.float()

    def answer(self, span: Piece = None, weights: str = "surprise") -> Tensor:
        """What a part of the output takes from the prompt through all that comes before it, (F,), of sum 1 or less.

        Args:
            span: output tokens, as a slice, a range or one number; or text that they spell, of which the last place
                counts; None for all of them.
            weights: "surprise" weighs each token by -log of its probability, so that what the model wrote without a
                choice counts little; "even" all alike.

        Raises:
            ValueError: for a result without ``output_attr``, and for a part that the output does not have.
        """
        return answered(self.through_output(), self.output_tokens, self.output_probs, span, weights)

    @cached_property
    def output_spans(self) -> list[Span] | None:
        """The characters [start, end) of each output token in ``target``; None where they cannot be told."""
        if self._output_ids is None or self._located is None:
            return self._output_spans
        return spans_in(self.target, self._output_ids, self._located.tokenizer)

    def sources(self, through: bool = False, weights: str = "surprise") -> "Sources":
        """What each sentence of the output takes from each document of a `DocumentsInput`, in percent.

        The shares of an output token are its scores over their sum; negative ones count as 0, as in `through_output`.
        Those of a sentence are the weighted mean of its tokens', over their sum.

        Args:
            through: what comes `through_output`, and not what each token takes from the prompt alone.
            weights: as in `answer`.

        Raises:
            ValueError: for a result without documents, whose output tokens cannot be told or whose scores are not
                finite; with ``through`` for one without ``output_attr``; and as `answer` does.
        """
        from captum_heta.attr.source_shares import sources_of

        return sources_of(self, through, weights)

    def _earlier(self) -> Tensor:
        if self.output_attr is None:
            raise ValueError("The result does not know what comes from earlier outputs: pass include_output=True.")
        return self.output_attr

    @property
    def output_labels(self) -> list[str]:
        """Each output token as text, with signs for white space, and how likely the model found it."""
        if self.output_probs is None:
            return [label(token) for token in self.output_tokens]
        pairs = zip(self.output_tokens, self.output_probs.tolist(), strict=True)
        return [f"{label(token)} ({_percent(probability)})" for token, probability in pairs]

    def by_group(self) -> dict[str, float]:
        """The share of each document or message in the output, mean over its tokens.

        Raises:
            ValueError: for an input without such parts.
        """
        if self.groups is None:
            raise ValueError("The input has no documents or messages: use a DocumentsInput or a ChatInput.")
        return summed(self.shares.mean(0), self.groups, self.groups)

    @property
    def seq_attr_dict(self) -> dict[str, float]:
        """The score of each feature by its label; of labels that are the same, all but the first have a number."""
        return dict(zip(distinct(self.input_tokens), self.seq_attr.tolist(), strict=True))

    def titled_rows(self, shares: bool = False, through: bool = False) -> list[tuple[str, list[float]]]:
        """What is shown under each other: the whole output, and each of its tokens where there are several.

        Args:
            shares: `shares` in the place of scores, and their mean for the whole.
            through: what comes `through_output`, the whole as `answer`.
        """
        each = self.through_output() if through else self.token_attr
        several = each is not None and len(each) > 1
        whole = self.answer() if through else self.shares.mean(0) if shares else self.seq_attr
        rows = [("whole output" if several else self.method or "score", whole.tolist())]
        if several and each is not None:
            rows += list(zip(distinct(self.output_labels), each.tolist(), strict=True))
        return rows

    @property
    def has_prompt(self) -> bool:
        """Whether it knows its prompt, and where its features are in it."""
        try:
            return bool(self.prompt) and bool(self.places)
        except ValueError:  # without a prompt, or one whose tokens cannot be told
            return False

    def _needed(self, value: Any) -> Any:
        if value is None:
            raise ValueError(
                "The result does not know its prompt, as it was made without one. Attribute with LLMTokenAttribution, "
                "or pass text and spans to the functions of captum_heta.visualization."
            )
        return value


def rows_of(result: LLMAttributionResult) -> Tensor:
    """The scores of each output token (K, F), in a result of Captum too; (1, F) of an output as a whole."""
    return result.seq_attr[None] if result.token_attr is None else result.token_attr


def shares_of(rows: Tensor) -> Tensor:
    """Rows (K, F) over the sums of their magnitudes, float32; a row of zeros stays so."""
    sizes = rows.double().abs().sum(1, keepdim=True)  # which may be more than float32 has
    return (rows / sizes.clamp(min=torch.finfo(torch.float32).tiny)).float()


def _percent(probability: float) -> str:
    return f"{probability:.1%}" if probability >= 0.001 else f"{probability:.0e}"


def distinct(labels: Sequence[str]) -> list[str]:
    """The labels; of those that are the same, all but the first have a number."""
    found: dict[str, None] = {}
    for one in labels:
        name, number = one, 2
        while name in found:
            name, number = f"{one} ({number})", number + 1
        found[name] = None
    return list(found)
