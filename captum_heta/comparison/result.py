"""What `captum_heta.compare` finds: the results of several methods, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from captum.attr import LLMAttributionResult
from torch import Tensor

from captum_heta.attr.located_result import rows_of, shares_of
from captum_heta.attr.result import imported_pandas
from captum_heta.files import write_whole
from captum_heta.inputs.places import flat, spread, texts
from captum_heta.metrics import spearman, top_k_overlap
from captum_heta.spans import Span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

_SCALES = ("sum", "max", "none", "shares")


@dataclass(frozen=True)
class Failure:
    """Why a method has no result.

    Attributes:
        kind: the class of the error.
        message: what it said.
    """

    kind: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


@dataclass(repr=False)
class Comparison:
    """Attributions of one target by several methods to the same features, in the order of the methods.

    Attributes:
        prompt: the text.
        places: the characters [start, end) of each feature in it; a template's value may be there several times.
        input_tokens: the features, as Captum labels them.
        target: the explained text.
        results: Captum's results, as the methods gave them.
        failures: the methods that failed, and why.
        seconds: how long each method took, failed ones too.
        groups: the name of the document or the message of each feature; None for an input without such parts.
        provenance: what the numbers were made with: model, versions, date.
        contrast: the text that the target is compared with, by the methods whose results have it too; None for none.
    """

    prompt: str
    places: list[list[Span]]
    input_tokens: list[str]
    target: str
    results: dict[str, LLMAttributionResult] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    groups: list[str] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    contrast: str | None = None

    def __repr__(self) -> str:
        """In a line: all numbers would be pages."""
        about = [f"target={self.target!r}", *([] if self.contrast is None else [f"contrast={self.contrast!r}"])]
        about += [f"features={len(self.places)}", f"methods={self.names}"]
        about += [f"failed={list(self.failures)}"] if self.failures else []
        return f"Comparison({', '.join(about)})"

    @property
    def names(self) -> list[str]:
        """The methods that have a result."""
        return list(self.results)

    @property
    def tokens(self) -> list[str]:
        """The text of each feature; Captum's label where it has no text of its own."""
        return texts(self.prompt, self.places, self.input_tokens)

    def matrix(self, scale: str = "sum") -> Tensor:
        """The methods' `seq_attr`, (methods, features), signed, float32 on the CPU.

        Args:
            scale: "sum" makes the magnitudes of a row sum to 1, "max" the largest 1, "none" leaves them. "shares" does
                so for each output token and takes the mean, so that one that the model found unlikely does not drown
                the others. A row of zeros stays so.

        Raises:
            ValueError: for another scale, and if no method has a result.
        """
        if scale not in _SCALES:
            raise ValueError(f"scale must be one of {', '.join(_SCALES)}, got {scale!r}.")
        if not self.results:
            failed = "; ".join(f"{name}: {failure}" for name, failure in self.failures.items())
            raise ValueError(f"No method has a result. {failed}")
        if scale == "shares":
            return torch.stack([shares_of(rows_of(result).detach()).mean(0).cpu() for result in self.results.values()])
        rows = torch.stack([result.seq_attr.detach().float().cpu() for result in self.results.values()])
        if scale == "max":
            return rows / rows.abs().amax(1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny)
        return shares_of(rows) if scale == "sum" else rows

    def spearman(self, signed: bool = False) -> Tensor:
        """Rank correlations of the methods, (methods, methods); of the magnitudes, or of the ``signed`` scores."""
        rows = self.matrix("none")
        rows = rows if signed else rows.abs()
        return spearman(rows[:, None], rows).float()

    def top_k_overlap(self, k: int = 5, signed: bool = False) -> Tensor:
        """Share of the ``k`` highest features that methods have in common, (methods, methods)."""
        rows = self.matrix("none")
        rows = rows if signed else rows.abs()
        return top_k_overlap(rows[:, None], rows, k).float()

    def to_dataframe(self, scale: str = "none") -> "DataFrame":
        """A row a feature, a column a method; needs pandas.

        Raises:
            ImportError: without pandas.
        """
        return imported_pandas().DataFrame(self.matrix(scale).T.numpy(), index=self.tokens, columns=self.names)

    def plot(self, shares: bool = False, **kwargs: Any) -> "tuple[Figure, Axes]":
        """A row of shaded text a method.

        Args:
            shares: as in `to_html`.
            **kwargs: those of `captum_heta.visualization.plot_text`.
        """
        from captum_heta.comparison.view import alone_note, outputs_note, part_note, question
        from captum_heta.visualization import plot_text

        rows = {}
        for name, row in zip(self.names, self.matrix("shares" if shares else "none").tolist(), strict=True):
            said = [f"{self.seconds[name]:.2f} s", *part_note(self, name), *alone_note(self, name)]
            rows[f"{name} ({', '.join(said)})"] = self.spread(row)
        kwargs.setdefault("title", "\n".join([question(self), *outputs_note(self)]))
        return plot_text(rows, self.prompt, self.spans, **kwargs)

    def to_html(self, shares: bool = False) -> str:
        """One self-contained page: shaded text, time and rank correlations of each method; no script, no network.

        Args:
            shares: colour by the mean of the output tokens' shares, as `matrix` has them, and not by their scores' sum.
        """
        from captum_heta.comparison.view import view_of
        from captum_heta.visualization.html import page

        return page(view_of(self, shares))

    def _repr_html_(self) -> str:
        from captum_heta.comparison.view import view_of
        from captum_heta.visualization.html import fragment

        return fragment(view_of(self))

    @property
    def spans(self) -> list[Span]:
        """The places of all features, one after the other."""
        return flat(self.places)

    def spread(self, scores: Sequence[float]) -> list[float]:
        """Scores of the features as those of `spans`."""
        return spread(scores, self.places)

    def save(self, file: str | Path) -> None:
        """Write everything to a JSON file, for `load`; what a result links to besides (its input) is left out.

        The file has all of it, or is as it was before.

        Raises:
            ValueError: for results that are not finite, which `compare` gives none of.
            OSError: if the file cannot be written.
        """
        from captum_heta.comparison.saved import to_json

        write_whole(file, to_json(self))

    @classmethod
    def load(cls, file: str | Path) -> "Comparison":
        """What `save` wrote. Results are Captum's, without `inp`; HETA's terms are in them.

        Raises:
            ValueError: if the file is none of `save`; says what is wrong with it.
            OSError: if it cannot be read.
        """
        from captum_heta.comparison.saved import read

        return read(file)
