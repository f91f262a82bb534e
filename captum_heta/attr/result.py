"""What `captum_heta.LLMTokenAttribution` gives: Captum's result as a thing that one can look at and keep."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from captum.attr import LLMAttributionResult
from torch import Tensor

from captum_heta.attr.answer import answered
from captum_heta.attr.recursion import parts_of, through
from captum_heta.files import write_whole
from captum_heta.inputs import LocatedInput
from captum_heta.inputs.offsets import spans_in
from captum_heta.inputs.parts import summed
from captum_heta.inputs.places import flat, spread, texts
from captum_heta.spans import Piece, Span
from captum_heta.visualization.signs import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from captum_heta.attr.sources import Sources


class LLMTokenAttributionResult(LLMAttributionResult):
    """Captum's result, which also knows its prompt, its target and how it was made.

    F are the features of the prompt, K the output tokens. In a notebook it shows the prompt in colours.

    Args:
        terms: as the attribute.
        method: as the attribute.
        target: as the attribute.
        contrast: as the attribute.
        located: the prompt; of a result that was loaded, its parts by themselves.
        prompt: the text.
        places: the characters of each feature.
        groups: as the attribute.
        documents: as the attribute.
        output_ids: the K output tokens.
        output_spans: as the attribute, of a result that was loaded.
        curvature_errors: as the attribute.
        output_attr: as the attribute.
        provenance: as the attribute.
        **kwargs: those of `captum.attr.LLMAttributionResult`.

    Attributes:
        terms: for HETA a named tuple of what its scores are made of (`HETATerms`, `TargetedTerms`), each (K, F), or
            (1, F) without ``per_token``; None for methods that have no terms.
        method: the name of the method.
        target: the explained text.
        contrast: the text that it is compared with: the scores explain log P(target) - log P(contrast); None for none.
        groups: the name of the document or the message of each feature; None for an input without such parts.
        documents: the names of the documents, in the order of the prompt; None for an input without documents.
        curvature_errors: the standard errors of the term ``curvature``, of its shape: of the random probes that
            estimate it, and NaN for one of them; None for methods without.
        output_attr: (K, K), the score of each output token (columns) in those after it (rows), in the unit of
            ``token_attr``; None without ``include_output``.
        provenance: how the numbers were made: model, options, versions, date, seconds; of HETA the mode that ran,
            ``products`` (Hessian products, or gradients), ``passes`` (masked copies), ``omitted`` (the share of the
            matrix that the mode leaves out), ``curvature_error`` (the sum of the standard errors over that of S), and
            in a product ``skipped`` (features without a masked pass) and ``skipped_share`` (of the score, at most, if
            none of those tells more than the last 48 that were looked at).
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
        return dict(zip(_distinct(self.input_tokens), self.seq_attr.tolist(), strict=True))

    def to_dataframe(self, shares: bool = False, errors: bool = False) -> "DataFrame":
        """A row a feature; columns for its text, its group, its score for the whole output and for each output token.

        Args:
            shares: `shares` in the place of scores.
            errors: two columns more, for HETA's curvature and its standard error, means over the outputs.

        Raises:
            ImportError: without pandas.
            ValueError: for ``errors`` of a method that has none.
        """
        if errors and (self.curvature_errors is None or self.terms is None):
            raise ValueError(f"{self.method or 'The method'} has no standard errors: only HETA's curvature has.")
        pandas = imported_pandas()
        rows = self.shares if shares else self.rows
        columns: dict[str, Any] = {"feature": self.pieces if self.has_prompt else self.input_tokens}
        if self.groups is not None:
            columns["group"] = self.groups
        columns["all"] = (rows.mean(0) if shares else self.seq_attr).tolist()
        if self.token_attr is not None and len(rows) > 1:
            columns |= dict(zip(_distinct(self.output_tokens), rows.tolist(), strict=True))
        if errors and self.curvature_errors is not None:
            columns["curvature"] = self.terms.curvature.mean(0).tolist()
            columns["curvature error"] = self.curvature_errors.mean(0).tolist()
        return pandas.DataFrame(columns)

    def to_html(self, shares: bool = False, through: bool = False) -> str:
        """One self-contained page: the shaded prompt for the output, and for each of its tokens when it is opened.

        No script, no network.

        Args:
            shares: colour the whole output by the mean of `shares`, and not by the sum of the scores.
            through: colour by what comes `through_output`, the whole by `answer`.
        """
        from captum_heta.attr.result_view import view_of
        from captum_heta.visualization.html import page

        return page(view_of(self, shares, through=through))

    def _repr_html_(self) -> str | None:
        if not self.has_prompt:
            return None
        from captum_heta.attr.result_view import NOTEBOOK_ROWS, view_of
        from captum_heta.visualization.html import fragment

        return fragment(view_of(self, most=NOTEBOOK_ROWS))

    def plot_text(self, shares: bool = False, **kwargs: Any) -> "tuple[Figure, Axes]":
        """The shaded prompt, for the whole output and below it for each of its tokens.

        Args:
            shares: as in `to_html`.
            **kwargs: those of `captum_heta.visualization.plot_text`.
        """
        from captum_heta.visualization import plot_text
        from captum_heta.visualization.view import why

        rows = {name: self.spread(scores) for name, scores in self.titled_rows(shares)}
        kwargs.setdefault("title", why(self.target, None, self.contrast))
        return plot_text(rows, self.prompt, self.spans, **kwargs)

    def plot_terms(self, **kwargs: Any) -> "tuple[Figure, Axes]":
        """HETA's scores and its three terms; ``kwargs`` are those of `captum_heta.visualization.plot_terms`."""
        from captum_heta.visualization import plot_terms

        return plot_terms(self, self.prompt, self.spans, **kwargs)

    def plot_heat_map(self, shares: bool = False, **kwargs: Any) -> "tuple[Figure, Axes]":
        """Features by output tokens; ``kwargs`` are those of `captum_heta.visualization.plot_heat_map`."""
        from captum_heta.visualization import plot_heat_map

        return plot_heat_map(self, shares=shares, **kwargs)

    def titled_rows(self, shares: bool = False, through: bool = False) -> list[tuple[str, list[float]]]:
        """What is shown under each other: the whole output, and each of its tokens where there are several.

        Args:
            shares: as in `to_html`.
            through: as in `to_html`.
        """
        each = self.through_output() if through else self.token_attr
        several = each is not None and len(each) > 1
        whole = self.answer() if through else self.shares.mean(0) if shares else self.seq_attr
        rows = [("whole output" if several else self.method or "score", whole.tolist())]
        if several and each is not None:
            rows += list(zip(_distinct(self.output_labels), each.tolist(), strict=True))
        return rows

    def save(self, file: str | Path) -> None:
        """Write everything but the input to a JSON file, for `load`; whole, or the file is as it was before.

        Raises:
            ValueError: for a result that does not know its prompt.
            OSError: if the file cannot be written.
        """
        from captum_heta.attr.saved import to_record
        from captum_heta.stored import as_json

        write_whole(file, as_json(to_record(self)))

    @classmethod
    def load(cls, file: str | Path) -> "LLMTokenAttributionResult":
        """What `save` wrote.

        Raises:
            ValueError: if the file is none of `save`; says what is wrong with it.
            OSError: if it cannot be read.
        """
        from captum_heta.attr.saved import from_record
        from captum_heta.stored import read_json

        return read_json(file, "result", from_record)

    def plot_token_attr(self, show: bool = False) -> "tuple[Figure, Axes] | None":
        """Captum's heat map of the output tokens' scores."""
        return _plotted(super().plot_token_attr(), show)

    def plot_seq_attr(self, show: bool = False) -> "tuple[Figure, Axes] | None":
        """Captum's bars of the whole output's scores."""
        return _plotted(super().plot_seq_attr(), show)

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


def imported_pandas() -> Any:
    """The package, which tables need; ImportError without it."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_dataframe needs pandas: pip install 'captum-heta[compare]'.") from error
    return pandas


def _percent(probability: float) -> str:
    return f"{probability:.1%}" if probability >= 0.001 else f"{probability:.0e}"


def _distinct(labels: Sequence[str]) -> list[str]:
    found: list[str] = []
    for one in labels:
        name, number = one, 2
        while name in found:
            name, number = f"{one} ({number})", number + 1
        found.append(name)
    return found


def _plotted(plot: Any, show: bool) -> "tuple[Figure, Axes] | None":
    """A plot of Captum's, whose labels are text: matplotlib would read what is between two dollar signs as formulas."""
    figure, axes = plot
    for tick in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
        tick.set_parse_math(False)
    if not show:
        return figure, axes
    import matplotlib.pyplot as plt

    plt.show()
    return None
