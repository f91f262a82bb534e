"""What `captum_heta.LLMTokenAttribution` gives: Captum's result, and more."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from captum.attr import LLMAttributionResult

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
