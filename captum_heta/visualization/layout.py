"""Where the characters of a text stand in lines of a fixed number of columns."""

import unicodedata
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from rich.cells import cell_len

_TAB = 4


class Cell(NamedTuple):
    """A character with the marks upon it, and its place.

    Attributes:
        start: of its first character in the text.
        text: the characters.
        word: the number of its word; white space and wide characters are words of their own.
        line: from 0 at the top.
        column: from 0 at the left.
        columns: how many it takes.
    """

    start: int
    text: str
    word: int
    line: int
    column: int
    columns: int


def columns_of(character: str) -> int:
    """2 for East Asian wide characters and emoji, 0 for marks that stand upon another character, 4 for a tab.

    >>> [columns_of(character) for character in "a字\N{COMBINING ACUTE ACCENT}"]
    [1, 2, 0]
    """
    if character == "\t":
        return _TAB
    # a control character has a place in the text too, if none in a terminal
    return 1 if unicodedata.category(character) == "Cc" else cell_len(character)


def flow(text: str, columns: int) -> list[Cell]:
    """The cells of all of ``text``, in order, in lines of ``columns``.

    A line ends at a newline or before a word that does not fit; only a word longer than a line is broken. White space
    may stand one column past the end, so that no line starts with the space between two words.
    """
    placed: list[Cell] = []
    line = column = 0
    for number, word in enumerate(_words(text)):
        blank = word[0][1][0].isspace()
        if not blank and column and column + sum(size for _, _, size in word) > columns:
            line, column = line + 1, 0
        for start, part, size in word:
            if column > columns or (not blank and column and column + size > columns):
                line, column = line + 1, 0
            size = min(size, columns + 1 - column) if blank else size
            placed.append(Cell(start, part, number, line, column, size))
            line, column = (line + 1, 0) if part[0] == "\n" else (line, column + size)
    return placed


def _words(text: str) -> Iterator[list[tuple[int, str, int]]]:
    """Start, text and columns of each character with its marks, in lists that lines do not break."""

    def breaks(cell: tuple[int, str, int]) -> int:
        return cell[0] if cell[1][0].isspace() or cell[2] > 1 else -1

    for _, word in groupby(_characters(text), key=breaks):
        yield list(word)


def _characters(text: str) -> Iterator[tuple[int, str, int]]:
    start = 0
    for end in range(1, len(text) + 1):
        if end == len(text) or columns_of(text[end]) or text[end - 1] == "\n":
            yield start, text[start:end], max(1, columns_of(text[start]))
            start = end
