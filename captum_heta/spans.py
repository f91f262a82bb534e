"""Characters [start, end) of a text, and those of its sentences."""

import re
from itertools import pairwise

Span = tuple[int, int]

# Which tokens of an output: some by number, or text that they spell; None for what a function says.
Piece = slice | range | int | str | None

_END = re.compile(r"[.!?][\"'\u201d\u2019)\]]*\s+|[\u3002\uff01\uff1f]\s*|\n\s*")

# Full stops of initials (J. C.), of U.S. and of titles end no sentence; that of No. does unless a number follows.
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"\u201c])(?:(?:e\.g|i\.e)\.|(?P<initials>(?:[^\W\d_]\.)+)|(?:Adm|Capt|Col|Dr|Gen|Gov|Hon|Jr|Lt|Maj|Mr|Mrs|Ms|Prof|Rev|Sen|Sgt|Sr|St"
    r"|ca|cf|vs)\.)\s+$"
)
_NUMBER = re.compile(r"(?:^|[\s(\"\u201c])No\.\s+$")
_LONGEST = 20  # characters of an abbreviation, with what is before and after it
# The number of a list, at the start of a line; a year there is none.
_LISTED = re.compile(r"^[^\S\n]*\d{1,3}[^\S\n]*\Z", re.MULTILINE)
_DEEPEST = 100  # characters of such a number, with what it is indented by


def sentence_spans(text: str) -> list[Span]:
    """The characters [start, end) of each sentence, with the white space after it.

    A sentence ends at a full stop, a question or an exclamation mark before white space, and at the end of a line. The
    full stop of an abbreviation ends none, nor that of a number that begins a line, as in a list.

    >>> text = "Mr. Lee left. Why?"
    >>> [text[start:end] for start, end in sentence_spans(text)]
    ['Mr. Lee left. ', 'Why?']
    """
    ends = (match.end() for match in _END.finditer(text) if not _inside(text, match))
    cuts = [0, *ends, len(text)]
    return [(start, end) for start, end in pairwise(cuts) if text[start:end].strip()]


def paragraph_spans(text: str) -> list[Span]:
    r"""The characters [start, end) of each paragraph, with the empty lines after it.

    >>> text = "One. Two.\n\nThree."
    >>> [text[start:end] for start, end in paragraph_spans(text)]
    ['One. Two.\n\n', 'Three.']
    """
    cuts = [0, *(match.end() for match in re.finditer(r"\n[^\S\n]*\n\s*", text)), len(text)]
    return [(start, end) for start, end in pairwise(cuts) if text[start:end].strip()]


def _inside(text: str, match: re.Match[str]) -> bool:
    """Whether what looks like the end of a sentence is an abbreviation inside it, or the number before it."""
    if match[0][0] != "." or "\n" in match[0] or match.end() == len(text):
        return False
    if _LISTED.search(text, max(0, match.start() - _DEEPEST), match.start()):
        return True
    before = text[max(0, match.end() - _LONGEST) : match.end()]
    found = _ABBREVIATION.search(before)
    if found:
        initials = found["initials"] or "C."
        return len(initials) == 2 or initials.isupper()  # not p.m.
    return bool(_NUMBER.search(before)) and text[match.end()].isdigit()


def numbers_of(name: str, piece: slice | range | int | None, count: int) -> list[int]:
    """The numbers of some of ``count`` output tokens; None for all.

    Raises:
        ValueError: if there are none, or not so many.
    """
    chosen = list(range(count))
    if isinstance(piece, slice):
        chosen = chosen[piece]
    elif isinstance(piece, int):
        chosen = [piece if piece >= 0 else count + piece]
    elif piece is not None:
        chosen = list(piece)
    if not chosen or min(chosen) < 0 or max(chosen) >= count:
        raise ValueError(f"{name} must be some of the {count} output tokens, got {piece!r}.")
    return chosen
