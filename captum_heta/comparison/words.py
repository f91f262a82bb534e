"""What a comparison says of a method beside its shaded text, on a page as in a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from captum_heta.visualization.pieces import darkest, pieces

if TYPE_CHECKING:
    from captum_heta.comparison.result import Comparison


def particulars(comparison: "Comparison", name: str, row: Sequence[float]) -> str:
    """The time, the score of the darkest shade, and the scores of features that are no text of the prompt.

    Args:
        comparison: with a result of ``name``.
        name: of the method.
        row: its score for each feature (F,).
    """
    parts = pieces(comparison.prompt, comparison.spans, comparison.spread(row))
    said = [f"{comparison.seconds[name]:.2f} s", darkest(parts)]
    for label, places, score in zip(comparison.input_tokens, comparison.places, row, strict=True):
        if not any(start < end for start, end in places):  # a special token, or a template's value that is empty
            said.append(f"not in the text: {label!r} {score:.3g}")
    return ", ".join(said)
