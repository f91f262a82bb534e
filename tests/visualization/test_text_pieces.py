import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captum_heta.demo import load_model
from captum_heta.inputs.offsets import token_spans
from captum_heta.visualization import Piece, pieces
from captum_heta.visualization.text_pieces import peak, scale_text, strength

TOKENIZER = load_model()[1]


@st.composite
def scored_texts(draw):
    text = draw(st.text(st.sampled_from("ab \n\t🎉א中é\u0301<$"), max_size=20))
    ends = st.integers(0, len(text))
    spans = draw(st.lists(st.tuples(ends, ends).map(lambda pair: tuple(sorted(pair))), max_size=8))
    return text, spans, draw(st.lists(st.floats(-2, 2), min_size=len(spans), max_size=len(spans)))


@given(scored_texts())
def test_pieces_give_back_the_text_with_the_largest_score_of_their_spans(scored):
    text, spans, scores = scored
    found = pieces(text, spans, scores)
    assert "".join(piece.text for piece in found) == text
    start = 0
    for piece in found:
        end = start + len(piece.text)
        inside = [score for (a, b), score in zip(spans, scores, strict=True) if start < b and a < end and a < b]
        if piece.score is None:
            assert not inside
        else:
            assert piece.score in inside
            assert abs(piece.score) == max(map(abs, inside))
        # no span goes over a border
        assert all(not a < end < b for a, b in spans)
        start = end


def test_spans_that_only_touch_stay_apart():
    assert pieces("abc", [(0, 1), (1, 3)], [1, -2]) == [Piece("a", 1.0), Piece("bc", -2.0)]


def test_overlapping_spans_are_one_piece_with_the_score_farther_from_zero():
    assert pieces("abcd", [(0, 3), (1, 2), (2, 4)], [1.0, 0.5, -3.0]) == [Piece("abcd", -3.0)]


def test_bytes_of_an_emoji_are_one_piece():
    text = "a 🎉!"
    _, spans = token_spans(text, TOKENIZER)
    assert sum("🎉" in text[start:end] for start, end in spans) > 1
    found = pieces(text, spans, list(range(len(spans))))
    assert [piece.text.strip() for piece in found if "🎉" in piece.text] == ["🎉"]


def test_order_of_features_does_not_matter_and_special_tokens_have_no_piece():
    assert pieces("ab", [(1, 2), (0, 0), (0, 1)], [1, 9, 2]) == [Piece("a", 2.0), Piece("b", 1.0)]


def test_strength_is_a_share_of_the_largest_magnitude():
    parts = pieces("ab c", [(0, 1), (1, 2)], [1.0, -4.0])
    assert [strength(part.score, peak(parts)) for part in parts] == [0.25, -1.0, 0.0]
    assert peak(pieces("a", [], [])) == 0.0
    assert strength(0.0, 0.0) == 0.0


@pytest.mark.parametrize(
    ("spans", "scores", "message"),
    [
        ([(0, 1)], [], "needs a span and a score, got 1 spans and 0 scores"),
        ([(0, 4)], [1.0], "span (0, 4) is not inside the text of 3 characters. Pass the text"),
        ([(-1, 2)], [1.0], "span (-1, 2) is not inside"),
        ([(2, 1)], [1.0], "span (2, 1) is not inside"),
        ([(0, 2)], [float("nan")], "characters 0 to 2 score nan: only finite"),
    ],
)
def test_what_cannot_be_shown_is_an_error(spans, scores, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        pieces("abc", spans, scores)


def test_darkest_is_the_largest_magnitude_in_words():
    assert scale_text([Piece("a", 1.0), Piece("b", -1234.5), Piece(" ", None)]) == "largest 1.23e+03"
    assert scale_text([Piece("a", 0.0)]) == scale_text([]) == "all 0"
