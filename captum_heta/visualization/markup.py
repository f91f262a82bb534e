"""Attributions as HTML."""

import html
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
from captum.attr import visualization

from captum_heta.shading import background, ink
from captum_heta.spans import Span
from captum_heta.visualization.pieces import Piece, peak, pieces, strength

# Each line has the direction of its own script, and a printed page has the shades that white letters need.
_STYLE = (
    "white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: plaintext; "
    "-webkit-print-color-adjust: exact; print-color-adjust: exact"
)


def html_text(text: str, spans: Sequence[Span], scores: Sequence[float], *, titles: Sequence[str] | None = None) -> str:
    """``text`` as an HTML paragraph, each piece on its shade and with its score as tooltip.

    The browser wraps it and orders right-to-left text. In a notebook: ``IPython.display.HTML(html_text(...))``.

    Args:
        text: the prompt.
        spans: the characters [start, end) of each feature.
        scores: a number for each feature; the largest magnitude has the darkest shade.
        titles: the tooltip of each feature, in the place of its score. A piece of several features has all of theirs,
            with an empty line between.

    Raises:
        ValueError: as `pieces` does, and for as many titles as are not one a feature.
    """
    parts = pieces(text, spans, scores)
    largest = peak(parts)
    tips = [f"{part.score:.4g}" if part.score is not None else "" for part in parts]
    if titles is not None:
        tips = _tips(parts, spans, titles)
    shown = "".join(_shown(part, largest, tip) for part, tip in zip(parts, tips, strict=True))
    return f'<p dir="auto" style="{_STYLE}">{shown}</p>'


def _tips(parts: Sequence[Piece], spans: Sequence[Span], titles: Sequence[str]) -> list[str]:
    """The titles of each piece's features, in the order of the text."""
    if len(titles) != len(spans):
        raise ValueError(f"Each of the {len(spans)} features needs a title, got {len(titles)}: pass one for each.")
    starts = list(accumulate((len(part.text) for part in parts), initial=0))
    found: list[list[str]] = [[] for _ in parts]
    for (start, end), title in sorted(zip(spans, titles, strict=True), key=lambda pair: pair[0]):
        if start < end:
            found[bisect_right(starts, start) - 1].append(title)
    return ["\n\n".join(tips) for tips in found]


def _shown(part: Piece, largest: float, title: str) -> str:
    if part.score is None:
        return _escaped(part.text)
    shade = strength(part.score, largest)
    style = f"background:{background(shade)};color:{ink(shade)}"
    return f'<span style="{style}" title="{_escaped(title)}">{_escaped(part.text)}</span>'


def records(
    rows: Mapping[str, Sequence[float]], text: str, spans: Sequence[Span], *, target: str, probability: float
) -> list[visualization.VisualizationDataRecord]:
    """A record of each row for `captum.attr.visualization.visualize_text`, a table in a notebook.

    The words of a row are scaled to [-1, 1] by its own largest magnitude. "Attribution Label" is its name,
    "Attribution Score" the sum of its scores as they are, and the other labels are the target. Captum does not escape
    what it shows, so all is escaped here. It puts spaces between pieces; `html_text` shows the text as it is.

    Args:
        rows: the scores of each method, by its name.
        text: the prompt.
        spans: the characters [start, end) of each feature.
        target: the output that is explained.
        probability: what the model gives it.

    Raises:
        ValueError: as `pieces` does.
    """
    found = []
    for name, scores in rows.items():
        parts = pieces(text, spans, scores)
        largest = peak(parts)
        found.append(
            visualization.VisualizationDataRecord(
                word_attributions=torch.tensor([strength(part.score, largest) for part in parts]),
                pred_prob=probability,
                pred_class=_escaped(target),
                true_class=_escaped(target),
                attr_class=_escaped(name),
                attr_score=float(sum(scores)),
                raw_input_ids=[_escaped(part.text).replace("\n", "<br>") for part in parts],
                convergence_score=0.0,
            )
        )
    return found


def _escaped(text: str) -> str:
    # browsers read a bare carriage return as a newline
    return html.escape(text).replace("\r", "&#13;")
