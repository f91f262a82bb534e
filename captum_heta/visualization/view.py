"""What is shown of an explanation, before it is decided how: sections of shaded texts, tables, and what it is of."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from captum_heta.spans import Span
from captum_heta.visualization.text_pieces import peak, pieces, strength


class ShownPiece(NamedTuple):
    """Consecutive characters in one colour.

    Attributes:
        text: the characters.
        strength: from -1 to 1; None for characters of no feature.
        tip: what is said of them.
    """

    text: str
    strength: float | None
    tip: str


@dataclass(frozen=True)
class TextRow:
    """A text, shaded once.

    Attributes:
        pieces: its characters.
        title: of what it is the text, where there are several.
        summary: what is said beside the title.
        folded: whether only title and summary show until a reader opens it.
    """

    pieces: list[ShownPiece]
    title: str = ""
    summary: str = ""
    folded: bool = False


class Bar(NamedTuple):
    """A sentence or another part of a text, and its share.

    Attributes:
        text: the part.
        share: from -1 to 1.
        before: what stands before it, where the part alone does not say which it is.
    """

    text: str
    share: float
    before: str = ""


@dataclass(frozen=True)
class Section:
    """What a method found, or why it did not.

    Attributes:
        title: the method.
        note: what is said beside it.
        rows: its shaded texts.
        failure: what went wrong.
        bars: parts of the text with their shares.
        outputs: the text shaded for each output token, in one fold.
    """

    title: str
    note: str = ""
    rows: list[TextRow] = field(default_factory=list)
    failure: str = ""
    bars: list[Bar] = field(default_factory=list)
    outputs: list[TextRow] = field(default_factory=list)


@dataclass(frozen=True)
class NumberTable:
    """Numbers with the names of their rows.

    Attributes:
        title: what they are.
        head: the names of the columns.
        rows: the name of each row and its numbers, as text.
        hints: a longer name for each column.
    """

    title: str
    head: list[str]
    rows: list[tuple[str, list[str]]]
    hints: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class View:
    """All that is shown.

    Attributes:
        title: the question.
        notes: how to read it.
        sections: one a method.
        summary: what follows from them, in sentences.
        tables: under them.
        about: what was run, names and values.
    """

    title: str
    notes: list[str]
    sections: list[Section]
    summary: list[str] = field(default_factory=list)
    tables: list[NumberTable] = field(default_factory=list)
    about: list[tuple[str, str]] = field(default_factory=list)


def in_percent(share: float) -> str:
    """A share as people read it, with a digit more where it is small.

    >>> in_percent(0.5), in_percent(0.051)
    ('50%', '5.1%')
    """
    return f"{share:.0%}" if abs(share) >= 0.095 else f"{share:.1%}"


def why(target: str, likely: float | None, contrast: str | None = None) -> str:
    """The question that an attribution answers, and how likely the target is."""
    known = "" if likely is None else f" (probability {likely:.3g})"
    return f"Why {target!r}{known}{'' if contrast is None else f' and not {contrast!r}'}?"


def text_row(
    text: str, spans: Sequence[Span], scores: Sequence[float], tips: Sequence[str] | None = None, title: str = ""
) -> TextRow:
    """A text shaded by the scores of its features; the largest magnitude has the full colour.

    Args:
        text: the prompt.
        spans: the characters [start, end) of each feature.
        scores: a number for each feature.
        tips: what is said of each feature, its score if this is None. A piece of several features has all of theirs,
            with an empty line between.
        title: of the row.

    Raises:
        ValueError: as `pieces` does, and for as many tips as are not one a feature.
    """
    if tips is not None and len(tips) != len(spans):
        raise ValueError(f"Each of the {len(spans)} features needs a title, got {len(tips)}: pass one for each.")
    parts = pieces(text, spans, scores)
    largest = peak(parts)
    said = [f"{part.score:.4g}" if part.score is not None else "" for part in parts]
    if tips is not None:
        starts = {start: i for i, start in enumerate(accumulate((len(part.text) for part in parts), initial=0))}
        ordered = sorted(
            ((span, tip) for span, tip in zip(spans, tips, strict=True) if span[0] < span[1]), key=lambda pair: pair[0]
        )
        of_parts: list[list[str]] = [[] for _ in parts]
        number = 0
        for (start, _), tip in ordered:
            number = starts.get(start, number)  # one that begins inside a piece is a part of it
            of_parts[number].append(tip)
        said = ["\n\n".join(some) for some in of_parts]
    return TextRow(
        [
            ShownPiece(part.text, None if part.score is None else strength(part.score, largest), tip)
            for part, tip in zip(parts, said, strict=True)
        ],
        title,
    )
