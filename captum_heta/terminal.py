"""A result in a terminal: the prompt shaded by score, and the highest scores with their terms."""

from collections.abc import Sequence
from itertools import groupby

from rich.style import Style
from rich.table import Table
from rich.text import Text

from captum_heta.text import Span

# From no attribution to the highest: white to dark green, as in the paper's demo.
_LIGHT, _DARK = (255, 255, 255), (0, 90, 40)


def shaded(text: str, spans: Sequence[Span], scores: Sequence[float]) -> Text:
    """``text`` with the characters of each span on green, darker for a higher score.

    Tokens that share a character (the bytes of an emoji) give it the highest of their scores.
    """
    highest = max(scores, default=0.0)
    shade = [0.0] * len(text)
    for (start, end), score in zip(spans, scores, strict=True):
        for i in range(start, end):
            shade[i] = max(shade[i], score / highest if highest > 0 else 0.0)
    shown = Text()
    for (strength, newline), run in groupby(zip(text, shade, strict=True), key=lambda pair: (pair[1], pair[0] == "\n")):
        shown.append("".join(character for character, _ in run), style=None if newline else _style(strength))
    return shown


def _style(strength: float) -> Style:
    red, green, blue = (round(a + (b - a) * strength) for a, b in zip(_LIGHT, _DARK, strict=True))
    return Style(color="#ffffff" if strength > 0.6 else "#000000", bgcolor=f"rgb({red},{green},{blue})")


def highest(text: str, spans: Sequence[Span], columns: dict[str, Sequence[float]], count: int = 5) -> Table:
    """The ``count`` tokens with the highest numbers of the first column, each after the words before it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("token", justify="right")
    for name in columns:
        table.add_column(name, justify="right")
    first = next(iter(columns.values()))
    for i in sorted(range(len(spans)), key=lambda i: -first[i])[:count]:
        table.add_row(_in_context(text, *spans[i]), *(f"{column[i]:.3g}" for column in columns.values()))
    return table


def _in_context(text: str, start: int, end: int, width: int = 20) -> Text:
    before = text[max(0, start - width) : start]
    if start > width:
        before = "..." + before[before.find(" ") + 1 :]
    return Text.assemble((before.replace("\n", " "), "dim"), (text[start:end].replace("\n", " "), "bold"))
