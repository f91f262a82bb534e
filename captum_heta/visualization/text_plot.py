"""The whole prompt, shaded once for each of several methods or terms."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from captum_heta.spans import Span
from captum_heta.visualization.text_page import SIZES, Block, Page
from captum_heta.visualization.text_pieces import Piece, pieces, scale_text

if TYPE_CHECKING:
    from captum.attr import LLMAttributionResult
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTHS = (3.0, 12.0)  # inches


def plot_terms(
    result: "LLMAttributionResult",
    text: str,
    spans: Sequence[Span],
    ax: "Axes | None" = None,
    width: float | None = None,
) -> "tuple[Figure, Axes]":
    """Scores of HETA, in any of its forms, and under them its three terms, all means over the outputs, by `plot_text`.

    What a product did not need of a term is left white.

    Args:
        result: of `LLMTokenAttribution` with `HETA` or `TargetedHETA`.
        text: the prompt.
        spans: the characters [start, end) of each feature.
        ax: as in `plot_text`.
        width: as in `plot_text`.

    Raises:
        ValueError: for a result without terms, and as `plot_text` does.
    """
    terms = getattr(result, "terms", None)
    if terms is None:
        raise ValueError(
            "The result has no terms, which only those of HETA and TargetedHETA have. Attribute with "
            "LLMTokenAttribution(TargetedHETA(model), tokenizer), or show the scores alone with plot_text."
        )
    rows = {getattr(result, "method", "") or "score": (result.seq_attr / len(terms[0])).tolist()}
    rows |= {name.replace("_", " "): values.mean(0).nan_to_num(0).tolist() for name, values in terms._asdict().items()}
    return plot_text(rows, text, spans, ax, width)


def plot_text(
    rows: Mapping[str, Sequence[float]],
    text: str,
    spans: Sequence[Span],
    ax: "Axes | None" = None,
    width: float | None = None,
    title: str | None = None,
) -> "tuple[Figure, Axes]":
    """The whole text once for each row, its pieces shaded by that row's scores: green above zero, red below.

    Each row is scaled by its own largest magnitude, which stands beside its name. Lines break between words. Pieces
    stand from left to right in the order of the text, also those of a right-to-left script; `html_text` orders them as
    they are read. A character that no font has is a square; fonts in ``matplotlib.rcParams["font.family"]`` are used.

    Args:
        rows: the scores of each method, by its name.
        text: the prompt.
        spans: the characters [start, end) of each feature.
        ax: where to draw; the letters are made as small as it takes. None makes a figure as high as it takes.
        width: of that figure, 3 to 12 inches; None is 10.
        title: above all.

    Raises:
        ValueError: for no rows, a width out of range or together with ``ax``, axes that are too small, and as `pieces`
            does.
    """
    import matplotlib.pyplot as plt

    if not rows:
        raise ValueError("There is no row to show: pass at least one name with its scores.")
    if width is not None and ax is not None:
        raise ValueError(f"width={width} is of a new figure, which ax has already: pass one of the two.")
    if width is not None and not _WIDTHS[0] <= width <= _WIDTHS[1]:
        raise ValueError(f"width must be 3 to 12 inches, got {width}; a long text makes the figure higher.")
    blocks = [] if title is None else [Block([Piece(title, None)], gap=0.5, weight="bold")]
    for name, scores in rows.items():
        parts = pieces(text, spans, scores)
        blocks += [Block([Piece(f"{name}, {scale_text(parts)}", None)], gap=0.0, weight="bold"), Block(parts, gap=0.75)]
    if ax is None:
        page = Page(blocks, width or 10.0, SIZES[0])
        fig, ax = plt.subplots(figsize=(page.width, page.height), facecolor="white")
        ax.set_position((0, 0, 1, 1))
        page.draw(ax, page.height)
        return fig, ax
    across, down = ax.bbox.width / ax.figure.dpi, ax.bbox.height / ax.figure.dpi
    for size in SIZES:
        page = Page(blocks, across, size)
        if page.height <= down:
            page.draw(ax, down)
            return ax.figure.figure, ax
    raise ValueError(
        f"The axes are {across:.1f} x {down:.1f} inches, too small for {len(text)} characters in {len(rows)} rows. "
        f"Make them {page.height:.1f} inches high, or pass no ax."
    )
