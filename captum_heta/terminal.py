"""A result in a terminal: the prompt shaded by score, and the highest scores with their terms."""

from collections.abc import Sequence

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
    for character, strength in zip(text, shade, strict=True):
        shown.append(character, style=None if character == "\n" else _style(strength))
    return shown


def _style(strength: float) -> Style:
    red, green, blue = (round(a + (b - a) * strength) for a, b in zip(_LIGHT, _DARK, strict=True))
    return Style(color="white" if strength > 0.5 else "black", bgcolor=f"rgb({red},{green},{blue})")


def highest(labels: Sequence[str], columns: dict[str, Sequence[float]], count: int = 5) -> Table:
    """The ``count`` labels with the highest numbers of the first column."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("token")
    for name in columns:
        table.add_column(name, justify="right")
    first = next(iter(columns.values()))
    for i in sorted(range(len(labels)), key=lambda i: -first[i])[:count]:
        table.add_row(Text(labels[i]), *(f"{column[i]:.4g}" for column in columns.values()))
    return table
