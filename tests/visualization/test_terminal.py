import io

from rich.console import Console

from captum_heta.visualization.signs import visible
from captum_heta.visualization.terminal import has_colours, highest, scored_text, shaded


def backgrounds(text):
    return {text.plain[span.start : span.end]: span.style.bgcolor.triplet for span in text.spans if span.style}


def test_shade_grows_with_the_score():
    text = shaded("ab c", [(0, 1), (1, 2), (2, 4)], [0.0, 1.0, 2.0])
    assert text.plain == "ab c"
    red = {part: color.red for part, color in backgrounds(text).items()}
    assert "a" not in red  # nothing near zero
    assert red["b"] > red[" c"] == 0


def test_a_character_of_two_tokens_has_the_higher_score():
    text = shaded("x", [(0, 1), (0, 1), (0, 1)], [1.0, 3.0, 2.0])
    assert backgrounds(text)["x"].red == 0


def test_scores_below_zero_are_red():
    shades = backgrounds(shaded("ab", [(0, 1), (1, 2)], [-2.0, 1.0]))
    assert shades["a"].red > shades["a"].green
    assert shades["b"].green > shades["b"].red


def test_no_score_at_all_and_no_token():
    assert shaded("ab", [(0, 2)], [0.0]).plain == "ab"
    assert shaded("ab", [], []).plain == "ab"


def test_highest_lists_in_order_after_the_words_before():
    console = Console(width=80, record=True, file=io.StringIO())
    text = "Anna [b]lives\nin a very small house"
    spans = [(0, 4), (5, 8), (24, 30)]
    console.print(highest(text, spans, {"score": [0.1, 0.5, 2.0], "flow": [1.0, 2.0, 1e-5]}, count=2))
    lines = [line.split() for line in console.export_text().splitlines()]
    assert lines == [
        ["token", "score", "flow"],
        ["...[b]lives", "in", "a", "very", "small", "2", "1e-05"],
        ["Anna", "[b]", "0.5", "2"],
    ]


def test_a_token_without_characters_has_no_part_in_the_scale():
    assert backgrounds(shaded("a", [(0, 0), (0, 1)], [9.0, 1.0]))["a"].red == 0


def test_control_characters_are_pictures_that_keep_their_places():
    text = shaded("a\x1b[1m\x00\x7f\x9b\tb", [(0, 5), (5, 10)], [1.0, -1.0])
    assert text.plain == "a␛[1m␀␡\ufffd\tb"
    assert list(backgrounds(text)) == ["a␛[1m", "␀␡\ufffd\tb"]
    assert visible("é\n\t🎉") == "é\n\t🎉"
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(highest("a\x1b[1m b\x07", [(6, 8)], {"score": [1.0]}))
    assert console.export_text().splitlines()[1].split() == ["a␛[1m", "b␇", "1"]


def test_characters_that_turn_a_line_and_halves_of_characters_are_shown():
    turning = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    assert visible(f"a{turning}b") == f"a{len(turning) * chr(0xFFFD)}b"
    assert visible("a\udcffb\ud83d") == "a\ufffdb\ufffd"
    assert visible("".join(map(chr, range(0xA0)))).isprintable() is False  # newline and tab stay
    assert visible("".join(chr(code) for code in range(0xA0) if chr(code) not in "\n\t")).isprintable()
    # what joins emoji, and right-to-left letters themselves, are text
    for text in ("👩\u200d👩\u200d👧", "שלום", "a\u200bb"):
        assert visible(text) == text


def test_tokens_of_white_space_have_signs():
    assert shaded("a \n", [(0, 1), (1, 2), (2, 3)], [1.0, 1.0, 1.0]).plain == "a\u2423\u23ce\n"
    assert shaded("a \n", [(0, 1), (1, 2), (2, 3)], [1.0, 0.0, 0.0]).plain == "a \n"


def test_scores_are_numbers_where_there_are_no_colours():
    console = Console(width=80, record=True, file=io.StringIO())
    assert not has_colours(console)
    console.print(scored_text(console, "a b\n", [(0, 1), (1, 3), (3, 4)], [0.5, -2.0, 0.25]))
    lines = [line.split() for line in console.export_text().splitlines()]
    assert lines == [["0.5", "a"], ["-2", "\u2423b"], ["0.25", "\u23ce"]]


def test_the_token_is_marked_where_there_are_no_bold_letters():
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(highest("Anna lives", [(0, 4), (4, 10)], {"score": [0.1, 0.5]}, marked=True))
    assert [line.split() for line in console.export_text().splitlines()][1:] == [
        ["Anna", "[lives]", "0.5"],
        ["[Anna]", "0.1"],
    ]
