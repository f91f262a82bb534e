from itertools import groupby, pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from captum_heta.visualization.layout import columns_of, flow


def lines(text, columns):
    """The text of each line."""
    return ["".join(cell.text for cell in line) for _, line in groupby(flow(text, columns), key=lambda cell: cell.line)]


@pytest.mark.parametrize(
    ("character", "columns"), [("a", 1), ("中", 2), ("🎉", 2), ("א", 1), ("\u0301", 0), ("\u200d", 0), ("\t", 4)]
)
def test_columns(character, columns):
    assert columns_of(character) == columns


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one two three", ["one ", "two ", "three"]),
        ("one tw", ["one tw"]),
        ("one two ", ["one ", "two "]),
        ("abcdefgh", ["abcdef", "gh"]),
        ("ab abcdefgh", ["ab ", "abcdef", "gh"]),
        ("a\n\nb", ["a\n", "\n", "b"]),
        ("abcdef\nb", ["abcdef\n", "b"]),
        ("中文中文", ["中文中", "文"]),
        ("a中文b", ["a中文b"]),
        ("", []),
    ],
)
def test_lines_of_six_columns(text, expected):
    assert lines(text, 6) == expected


def test_a_mark_stands_on_its_character():
    assert [(cell.text, cell.column) for cell in flow("e\u0301a", 6)] == [("e\u0301", 0), ("a", 1)]


def test_a_mark_on_nothing_has_a_column_of_its_own():
    assert [(cell.text, cell.columns) for cell in flow("\u0301\n\u0301", 6)] == [
        ("\u0301", 1),
        ("\n", 1),
        ("\u0301", 1),
    ]


@given(st.text(st.sampled_from("ab  \n\t\r🎉א中\u0301\u200d")), st.integers(2, 12))
@example("a b", 2)
def test_every_character_has_a_place_of_its_own_in_the_lines(text, columns):
    cells = flow(text, columns)
    assert "".join(cell.text for cell in cells) == text
    assert all(text[cell.start :].startswith(cell.text) for cell in cells)
    for before, after in pairwise(cells):
        if after.line == before.line:
            assert after.column == before.column + before.columns
        else:
            assert (after.line, after.column) == (before.line + 1, 0)
    for cell in cells:
        assert cell.columns > 0
        assert cell.column + cell.columns <= columns + cell.text[0].isspace()


@given(st.lists(st.text(st.sampled_from("abcא"), min_size=1, max_size=8), min_size=1))
def test_words_that_fit_are_whole(words):
    assert [word for line in lines(" ".join(words), 8) for word in line.split()] == words
