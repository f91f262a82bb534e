"""A result in a terminal: the prompt shaded by score, and the highest scores with their terms."""

from collections.abc import Sequence
from itertools import groupby

from rich.style import Style
from rich.table import Table
from rich.text import Text

from captum_heta.shading import background, ink
from captum_heta.spans import Span

# A terminal obeys control characters: it moves the cursor or changes its colours. Unicode has pictures of them.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {127: 0x2421}
_WITHOUT_PICTURE = (
    *range(0x80, 0xA0),  # the other control characters
    *(0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),  # those that turn the order of a line
    *range(0xD800, 0xE000),  # halves of a character, of bytes that are no UTF-8: nothing can write them
)
_PICTURES |= dict.fromkeys(_WITHOUT_PICTURE, 0xFFFD)


def visible(text: str) -> str:
    r"""``text`` with a stand-in, as long, for each character that a terminal obeys or cannot write.

    These are control characters except newline and tab, those that change the direction of writing, and surrogates.

    >>> visible("a\x1b[1mb\u202ec")
    'a␛[1mb�c'
    """
    return text.translate(_PICTURES)


def shaded(text: str, spans: Sequence[Span], scores: Sequence[float]) -> Text:
    """``text`` with the characters of each span on green, darker for a higher score, or on red for one below 0.

    Tokens that share a character (the bytes of an emoji) give it the largest of their scores. One without characters
    (a special token) has no part in the scale. Control characters are shown as `visible` does.
    """
    scored = zip(spans, scores, strict=True)
    largest = max((abs(score) for (start, end), score in scored if start < end), default=0.0)
    shade = [0.0] * len(text)
    for (start, end), score in zip(spans, scores, strict=True):
        for i in range(start, end):
            shade[i] = max(shade[i], score / largest if largest > 0 else 0.0, key=abs)
    shown, characters = Text(), zip(visible(text), shade, strict=True)
    for (strength, newline), run in groupby(characters, key=lambda pair: (pair[1], pair[0] == "\n")):
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
    before, token = (visible(part).replace("\n", " ") for part in (before, text[start:end]))
    return Text.assemble((before, "dim"), (token, "bold"))
