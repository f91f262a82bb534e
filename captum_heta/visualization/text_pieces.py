"""A text cut into the pieces that are shown in one colour each."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from captum_heta.spans import Span


class Piece(NamedTuple):
    """Consecutive characters that are shown in one colour.

    Attributes:
        text: the characters.
        score: of their tokens; None for characters of no token.
    """

    text: str
    score: float | None


def pieces(text: str, spans: Sequence[Span], scores: Sequence[float]) -> list[Piece]:
    """``text`` cut into pieces that together give it back.

    Tokens that share characters (the bytes of an emoji) are one piece, with the score of largest magnitude among
    theirs. Empty spans (special tokens) have no piece.

    Args:
        text: the prompt.
        spans: the characters [start, end) of each feature.
        scores: a number for each feature.

    Raises:
        ValueError: if spans and scores are not as many, a span is not inside the text, or a score is not finite.

    >>> pieces("to be", [(0, 2), (3, 5)], [0.5, 2.0])
    [Piece(text='to', score=0.5), Piece(text=' ', score=None), Piece(text='be', score=2.0)]
    """
    found: list[Piece] = []
    position = 0
    for start, end, score in _merged(text, spans, scores):
        if start > position:
            found.append(Piece(text[position:start], None))
        found.append(Piece(text[start:end], score))
        position = end
    if position < len(text):
        found.append(Piece(text[position:], None))
    return found


def _merged(text: str, spans: Sequence[Span], scores: Sequence[float]) -> list[tuple[int, int, float]]:
    """Start, end and score of the spans that are not empty, in order and without overlaps."""
    if len(spans) != len(scores):
        raise ValueError(f"Each feature needs a span and a score, got {len(spans)} spans and {len(scores)} scores.")
    merged: list[tuple[int, int, float]] = []
    for (start, end), value in sorted(zip(spans, scores, strict=True), key=lambda pair: pair[0]):
        score = float(value)
        if not math.isfinite(score):
            raise ValueError(f"The characters {start} to {end} score {score}: only finite scores can be shown.")
        if not 0 <= start <= end <= len(text):
            raise ValueError(
                f"The span ({start}, {end}) is not inside the text of {len(text)} characters. Pass the text that the "
                "spans were made from."
            )
        if start == end:
            continue
        if merged and start < merged[-1][1]:
            first, last, other = merged.pop()
            merged.append((first, max(last, end), max(other, score, key=abs)))
        else:
            merged.append((start, end, score))
    return merged


def peak(parts: Sequence[Piece]) -> float:
    """The largest magnitude of a score, which has the darkest shade."""
    return max((abs(part.score) for part in parts if part.score is not None), default=0.0)


def scale_text(parts: Sequence[Piece], form: str = ".3g") -> str:
    """The magnitude that has the full colour, in words, in a form of Python's format strings.

    >>> scale_text([Piece("a", -0.25), Piece("b", None)]), scale_text([])
    ('largest 0.25', 'all 0')
    """
    return f"largest {peak(parts):{form}}" if peak(parts) else "all 0"


def strength(score: float | None, largest: float) -> float:
    """The score from -1 to 1, where 1 is ``largest``, the `peak`; 0 if there is none."""
    return score / largest if score and largest else 0.0
