"""What `captum_heta.compare` finds: the results of several methods, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from captum.attr import LLMAttributionResult
from torch import Tensor

from captum_heta.files import write_whole
from captum_heta.metrics import spearman, top_k_overlap
from captum_heta.spans import Span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

_SCALES = ("sum", "max", "none")


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


@dataclass
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
    """

    prompt: str
    places: list[list[Span]]
    input_tokens: list[str]
    target: str
    results: dict[str, LLMAttributionResult] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The methods that have a result."""
        return list(self.results)

    @property
    def tokens(self) -> list[str]:
        """The text of each feature; Captum's label where it has no text of its own."""
        texts = ["".join(self.prompt[start:end] for start, end in spans[:1]) for spans in self.places]
        return [text or label for text, label in zip(texts, self.input_tokens, strict=True)]

    def matrix(self, scale: str = "sum") -> Tensor:
        """The methods' `seq_attr`, (methods, features), signed, float32 on the CPU.

        Args:
            scale: "sum" makes the magnitudes of a row sum to 1, "max" the largest 1, "none" leaves them. A row of zeros
                stays so.

        Raises:
            ValueError: for another scale, and if no method has a result.
        """
        if scale not in _SCALES:
            raise ValueError(f"scale must be one of {', '.join(_SCALES)}, got {scale!r}.")
        if not self.results:
            failed = "; ".join(f"{name}: {failure}" for name, failure in self.failures.items())
            raise ValueError(f"No method has a result. {failed}")
        rows = torch.stack([result.seq_attr.detach().float().cpu() for result in self.results.values()])
        if scale == "none":
            return rows
        size = rows.double().abs()  # whose sum may be more than float32 has
        size = size.sum(1, keepdim=True) if scale == "sum" else size.amax(1, keepdim=True)
        return (rows / size.clamp(min=torch.finfo(rows.dtype).tiny)).float()

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
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_dataframe needs pandas: pip install 'captum-heta[compare]'.") from error
        return pandas.DataFrame(self.matrix(scale).T.numpy(), index=self.tokens, columns=self.names)

    def plot(self, **kwargs: Any) -> "tuple[Figure, Axes]":
        """A row of shaded text a method; ``kwargs`` are those of `captum_heta.visualization.plot_text`."""
        from captum_heta.visualization import plot_text

        rows = {
            f"{name} ({self.seconds[name]:.2f} s)": self.spread(row)
            for name, row in zip(self.names, self.matrix("none").tolist(), strict=True)
        }
        kwargs.setdefault("title", f"Why {self.target!r}?")
        return plot_text(rows, self.prompt, self.spans, **kwargs)

    def to_html(self) -> str:
        """One self-contained page: shaded text, time and rank correlations of each method; no script, no network."""
        from captum_heta.comparison.page import comparison_page

        return comparison_page(self)

    @property
    def spans(self) -> list[Span]:
        """The places of all features, one after the other."""
        return [span for spans in self.places for span in spans]

    def spread(self, scores: Sequence[float]) -> list[float]:
        """Scores of the features as those of `spans`."""
        return [score for score, spans in zip(scores, self.places, strict=True) for _ in spans]

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
