"""A result in a terminal: the prompt shaded by score, and the highest scores with their terms; or numbers in a pipe."""

import math
from collections.abc import Mapping, Sequence

from rich.console import Console, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from captum_heta.spans import Span
from captum_heta.visualization.colours import background, ink, is_shaded
from captum_heta.visualization.signs import blank_sign, label, lead, visible
from captum_heta.visualization.text_pieces import peak, pieces, strength

_GROUND = 0.2  # the lowest strength with a ground
_MIDDLE = 0.55  # the strength on a page that looks as it
_LETTERS = {True: "#1a9850", False: "#e05252"}  # read on white as on black


def has_colours(console: Console) -> bool:
    """Whether shades can be seen; not in a file, a pipe or where NO_COLOR is set."""
    return console.color_system is not None and not console.no_color


def scored_text(console: Console, text: str, spans: Sequence[Span], scores: Sequence[float]) -> RenderableType:
    """`shaded` where a console has colours, else `numbered`."""
    return shaded(text, spans, scores) if has_colours(console) else numbered(text, spans, scores)


def shaded(text: str, spans: Sequence[Span], scores: Sequence[float]) -> Text:
    """``text`` with the characters of each span on green, darker for a higher score, or on red for one below 0.

    Tokens that share a character (the bytes of an emoji) give it the largest of their scores. One without characters
    (a special token) has no part in the scale. Tokens of white space have signs, control characters are shown as
    `visible` does, and those that score next to nothing have no colour.
    """
    parts = pieces(text, spans, scores)
    largest, found = peak(parts), Text()
    for part in parts:
        style = _style(strength(part.score, largest))
        sign = blank_sign(part.text) if style else ""
        # a newline would colour the rest of its line
        for line in (sign + visible(part.text).lstrip(" " if sign else "")).splitlines(keepends=True):
            found.append(line.rstrip("\n"), style=style)
            found.append("\n" if line.endswith("\n") else "")
    return found


def _style(shade: float) -> Style | None:
    """Letters in colour for a low score, a ground for a higher one: on a light and on a dark terminal.

    Which of the two it is cannot be asked. A ground near the page's colour would be the brightest of all on the other.
    """
    if not is_shaded(shade):
        return None
    if abs(shade) < _GROUND:
        return Style(color=_LETTERS[shade > 0])
    # the lowest ground is a middle one, and the highest the full colour
    middle = math.copysign(_MIDDLE + (1 - _MIDDLE) * (abs(shade) - _GROUND) / (1 - _GROUND), shade)
    return Style(color=ink(middle), bgcolor=background(middle))


def numbered(text: str, spans: Sequence[Span], scores: Sequence[float]) -> Table:
    """A line for each feature, its score and what it is, for where there are no colours."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right")
    table.add_column(no_wrap=True)
    for (start, end), score in zip(spans, scores, strict=True):
        table.add_row(f"{score:.4g}", Text(label(text[start:end])))
    return table


def highest(
    text: str, spans: Sequence[Span], columns: Mapping[str, Sequence[float]], count: int = 5, marked: bool = False
) -> Table:
    """The ``count`` tokens with the highest numbers of the first column, each after the words before it.

    Args:
        text: the prompt.
        spans: the characters of each feature.
        columns: numbers of each feature, by their names; a dash for NaN.
        count: how many.
        marked: put the token in square brackets, where no bold letters show which it is.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("token", justify="right")
    for name in columns:
        table.add_column(name, justify="right")
    first = next(iter(columns.values()))
    for i in sorted(range(len(spans)), key=lambda i: -first[i])[:count]:
        values = ("-" if column[i] != column[i] else f"{column[i]:.3g}" for column in columns.values())
        table.add_row(_in_context(text, *spans[i], marked=marked), *values)
    return table


def outputs_table(outputs: Sequence[str], tokens: Sequence[str], shares: Sequence[Sequence[float]]) -> Table:
    """A line for each output token, with the three prompt tokens that have the largest shares of its scores.

    Args:
        outputs: the K output tokens, and how likely each was.
        tokens: the F tokens of the prompt.
        shares: K rows of F.
    """
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right")
    table.add_column()
    for name, row in zip(outputs, shares, strict=True):
        largest = sorted(range(len(row)), key=lambda i: -abs(row[i]))[:3]
        table.add_row(Text(visible(name)), Text(", ".join(f"{label(tokens[i])} {row[i]:.0%}" for i in largest)))
    return table


def _in_context(text: str, start: int, end: int, marked: bool) -> Text:
    token = text[start:end]
    token = blank_sign(token) or visible(token).replace("\n", " ")
    if marked:
        word = token.lstrip()
        token = f"{token[: len(token) - len(word)]}[{word}]"
    return Text.assemble((lead(text, start), "dim"), (token, "bold"))
