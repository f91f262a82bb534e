"""A result in a terminal: the prompt shaded by score, and the highest scores with their terms."""

from collections.abc import Sequence
from itertools import groupby

from rich.style import Style
from rich.table import Table
from rich.text import Text

from captum_heta.shading import background, ink
from captum_heta.text import Span


def shaded(text: str, spans: Sequence[Span], scores: Sequence[float]) -> Text:
    """``text`` with the characters of each span on green, darker for a higher score, or on red for one below 0.

    Tokens that share a character (the bytes of an emoji) give it the largest of their scores.
    """
    largest = max(map(abs, scores), default=0.0)
    shade = [0.0] * len(text)
    for (start, end), score in zip(spans, scores, strict=True):
        for i in range(start, end):
            shade[i] = max(shade[i], score / largest if largest > 0 else 0.0, key=abs)
    shown = Text()
    for (strength, newline), run in groupby(zip(text, shade, strict=True), key=lambda pair: (pair[1], pair[0] == "\n")):
        style = None if newline else Style(color=ink(strength), bgcolor=background(strength))
        shown.append("".join(character for character, _ in run), style=style)
    return shown


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
