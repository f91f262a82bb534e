"""What `captum_heta.LLMTokenAttribution` gives: Captum's result as a thing that one can look at and keep."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_heta.attr.located_result import LocatedResult, distinct
from captum_heta.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame


class LLMTokenAttributionResult(LocatedResult):
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
            columns |= dict(zip(distinct(self.output_tokens), rows.tolist(), strict=True))
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


def imported_pandas() -> Any:
    """The package, which tables need; ImportError without it."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_dataframe needs pandas: pip install 'captum-heta[compare]'.") from error
    return pandas


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
