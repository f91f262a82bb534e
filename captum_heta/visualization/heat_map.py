"""Tokens by outputs as a heat map of limited size."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from captum_heta.spans import Span
from captum_heta.visualization.colours import background, ink
from captum_heta.visualization.fonts import drawable, families
from captum_heta.visualization.layout import columns_of
from captum_heta.visualization.signs import blank_sign

if TYPE_CHECKING:
    from captum.attr import LLMAttributionResult
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# inches
_WIDEST, _HIGHEST = 14.0, 10.0
_PITCH = 0.2  # between two labels
_NUMBER = np.array([0.3, 0.65])  # height and width of a cell with a number
_CELL = np.array([0.25, 0.25])  # of one without, if there is room
_LEAST = np.array([0.3, 3.0])  # of the map
_ADVANCE = 0.067  # of a letter of a label
_EDGE = 0.25
_BAR = 0.65  # of the colour bar with its labels

_SIZE = 8  # of labels in points
_LONGEST = 16  # columns of a label
_FAINT = 1e-4  # of the largest score, below which the exponent would be all that is read
_SHARP = 800  # most rows or columns that are wider than a pixel on a screen


def plot_heat_map(
    result: "LLMAttributionResult",
    text: str | None = None,
    spans: Sequence[Span] | None = None,
    max_labels: int = 60,
    shares: bool = False,
) -> "tuple[Figure, Axes]":
    """The score of each input token for each output token, at most 14 x 10 inches.

    White is zero, green above and red below. Where not all labels fit, every second, third, ... token has one, at its
    own column. Small maps show the numbers too, ~0 for those below a ten-thousandth of the largest.

    Args:
        result: any of Captum's with ``token_attr`` (K, F).
        text: the prompt. With ``spans`` it labels the F features with their characters, not with the names that a
            tokenizer has for its tokens; None for what the result knows of it.
        spans: the characters [start, end) of each feature.
        max_labels: the most labels on an axis.
        shares: show each output token's scores over the sum of their magnitudes, so that one that the model found
            unlikely does not drown the others.

    Raises:
        ValueError: for a result without token_attr, a score that is not finite, one of text and spans without the
            other, as many spans as do not fit the result, or max_labels below 1.
    """
    if result.token_attr is None:
        raise ValueError(
            "The result has seq_attr alone. Attribute each output token (per_token=True), or show seq_attr with "
            "plot_text."
        )
    if max_labels < 1:
        raise ValueError(f"max_labels must be at least 1, got {max_labels}.")
    scores = result.token_attr.detach().float().cpu().numpy()
    if not np.isfinite(scores).all():
        raise ValueError("token_attr has scores that are not finite: only finite scores can be shown.")
    if shares:
        scores = scores / np.maximum(np.abs(scores).sum(1, keepdims=True), np.finfo(np.float32).tiny)
    outputs, inputs = _outputs(result), _labels(_names(result, text, spans))
    fig, ax, numbers = _frame(scores.shape, outputs, inputs)
    _fill(ax, scores, numbers)
    _label(ax, "x", inputs, max_labels)
    _label(ax, "y", outputs, max_labels)
    return fig, ax


def _frame(shape: tuple[int, ...], outputs: list[str], inputs: list[str]) -> "tuple[Figure, Axes, bool]":
    """A figure with axes that leave room for labels and colour bar, and whether numbers fit into the cells."""
    import matplotlib.pyplot as plt

    slanted = _EDGE + 0.75 * _ADVANCE * max(map(_columns, inputs))  # by 45 degrees, to the left and down
    left = max(slanted, _EDGE + _ADVANCE * max(map(_columns, outputs)))
    room = np.array([_HIGHEST - slanted - _BAR, _WIDEST - left - _EDGE])
    numbers = bool((shape * _NUMBER <= room).all())
    down, across = np.minimum(np.maximum(shape * (_NUMBER if numbers else _CELL), _LEAST), room)
    width, height = left + across + _EDGE, slanted + down + _BAR
    fig, ax = plt.subplots(figsize=(width, height), facecolor="white")
    ax.set_position((left / width, slanted / height, across / width, down / height))
    return fig, ax, numbers


def _names(result: "LLMAttributionResult", text: str | None, spans: Sequence[Span] | None) -> list[str]:
    """The characters of each feature; the result's own name where there are none."""
    if text is None and spans is None:
        return list(result.pieces if getattr(result, "has_prompt", False) else result.input_tokens)
    if text is None or spans is None:
        raise ValueError("text and spans label the features together: pass both or neither.")
    if len(spans) != len(result.input_tokens):
        raise ValueError(
            f"The result has {len(result.input_tokens)} features, got {len(spans)} spans: pass those of the features."
        )
    return [text[slice(*span)] or name for span, name in zip(spans, result.input_tokens, strict=True)]


def _outputs(result: "LLMAttributionResult") -> list[str]:
    """The output tokens, and how likely the model found each where there are several."""
    labels, probabilities = _labels(result.output_tokens), result.output_probs
    if probabilities is None or len(labels) < 2:
        return labels
    return [f"{label} ({probability:.2g})" for label, probability in zip(labels, probabilities.tolist(), strict=True)]


def _labels(names: Sequence[str]) -> list[str]:
    """Names on one line, cut at a width, white space alone made visible."""
    return [_cut(" ".join(name.split()) or blank_sign(name)) for name in names]


def _cut(name: str) -> str:
    for end in range(len(name)):
        if _columns(name[: end + 1]) > _LONGEST:
            return name[: end - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return name


def _columns(name: str) -> int:
    return sum(map(columns_of, name))


def _fill(ax: "Axes", scores: "np.ndarray[Any, Any]", numbers: bool) -> None:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.ticker import MaxNLocator

    signed = bool((scores < 0).any())
    peak = float(np.abs(scores).max()) or 1.0
    shades = [background(strength) for strength in ((-1, 0, 1) if signed else (0, 1))]
    colors = LinearSegmentedColormap.from_list("attribution", shades)
    # matplotlib blurs cells of a few pixels, which keeps those that are smaller than a pixel from being left out
    drawn = "nearest" if max(scores.shape) <= _SHARP else "auto"
    low = -peak if signed else 0.0
    image = ax.imshow(scores, cmap=colors, vmin=low, vmax=peak, aspect="auto", interpolation=drawn)
    ax.grid(False)
    for (row, column), score in np.ndenumerate(scores) if numbers else ():
        ax.text(column, row, _number(score, peak), color=ink(score / peak), size=_SIZE, ha="center", va="center")
    fig, across, down = ax.figure, *_inches(ax)
    bar = ax.inset_axes((0, 1 + (_BAR - 0.25) / down, 2 / across, 0.12 / down))
    fig.colorbar(image, cax=bar, orientation="horizontal", ticks=MaxNLocator(4), format="{x:.3g}")
    bar.tick_params(labelsize=_SIZE)
    bar.text(1.05, 0.5, "attribution", size=_SIZE, va="center", transform=bar.transAxes)


def _number(score: float, peak: float) -> str:
    """Two digits; what is next to nothing beside the largest is told from 0 alone."""
    return "~0" if 0 < abs(score) < _FAINT * peak else f"{score:.2g}"


def _label(ax: "Axes", axis: str, labels: list[str], most: int) -> None:
    """Name every n-th row or column, so that there are at most ``most`` labels and none is on another."""
    room = int(_inches(ax)[0 if axis == "x" else 1] / _PITCH)
    names = families()
    places = range(0, len(labels), -(-len(labels) // max(1, min(most, room))))
    shown = [labels[i].translate(drawable(labels[i], names)) for i in places]
    ticks = ax.set_xticks if axis == "x" else ax.set_yticks
    ticks(places, shown, family=names, size=_SIZE, parse_math=False)
    if axis == "x":
        for label in ax.get_xticklabels():
            label.set(rotation=45, ha="right", rotation_mode="anchor")


def _inches(ax: "Axes") -> tuple[float, float]:
    return ax.bbox.width / ax.figure.dpi, ax.bbox.height / ax.figure.dpi
