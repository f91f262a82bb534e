from html.parser import HTMLParser

import pytest
import torch
from captum.attr import visualization
from hypothesis import given
from hypothesis import strategies as st

from captum_heta.visualization import html_text, pieces, records

SCRIPT = "<script>alert('1')</script> & \"b\""


class Reader(HTMLParser):
    """The text of a fragment and its tags with their attributes."""

    def __init__(self, fragment):
        super().__init__(convert_charrefs=True)
        self.text, self.tags = "", []
        self.feed(fragment)
        self.close()

    @property
    def scored(self):
        """The attributes of the pieces with a score."""
        return [attributes for _, attributes in self.tags if "title" in attributes]

    def handle_data(self, data):
        self.text += data

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("<>&\"'\n\r🎉א"), max_size=20), st.data())
def test_html_reads_back_as_the_text(text, data):
    ends = st.integers(0, len(text))
    spans = data.draw(st.lists(st.tuples(ends, ends).map(lambda pair: tuple(sorted(pair))), max_size=5))
    scores = data.draw(st.lists(st.floats(-1, 1), min_size=len(spans), max_size=len(spans)))
    read = Reader(html_text(text, spans, scores))
    assert read.text == text
    shown = [piece.score for piece in pieces(text, spans, scores) if piece.score is not None]
    assert {tag for tag, _ in read.tags[1:]} <= {"span"}
    assert [attributes["title"] for attributes in read.scored] == [f"{score:.4g}" for score in shown]


def test_html_escapes_all_it_shows():
    fragment = html_text(SCRIPT, [(0, 8), (8, 20)], [1.0, -0.5])
    assert Reader(fragment).text == SCRIPT
    assert "<script" not in fragment
    assert {tag for tag, _ in Reader(fragment).tags} == {"p", "span"}
    assert fragment.count("<") == 2 * len(Reader(fragment).tags)


def test_html_shades_and_wraps():
    read = Reader(html_text("a b c", [(0, 1), (2, 3), (4, 5)], [2.0, -2.0, 0.0]))
    _, paragraph = read.tags[0]
    assert paragraph["dir"] == "auto"
    assert "white-space: pre-wrap" in paragraph["style"]
    assert "unicode-bidi: plaintext" in paragraph["style"]
    assert [attributes["style"] for attributes in read.scored] == [
        "background:#005a28;color:#ffffff;background:light-dark(#005a28,#46cd7d);color:light-dark(#ffffff,#000000)",
        "background:#af1423;color:#ffffff;background:light-dark(#af1423,#ff736e);color:light-dark(#ffffff,#000000)",
        "",  # nothing near zero
    ]


def test_html_of_zeros_and_of_nothing():
    assert "background" not in html_text("a", [(0, 1)], [0.0])
    assert Reader(html_text("a", [], [])).scored == []
    assert Reader(html_text("", [], [])).text == ""


def test_records_are_scaled_rows():
    spans = [(0, 2), (3, 5)]
    found = records({"A": [1.0, -4.0], "B": [0.0, 0.0]}, "to be", spans, target="<x>", probability=0.25)
    assert [record.attr_class for record in found] == ["A", "B"]
    assert [record.raw_input_ids for record in found] == [["to", " ", "be"]] * 2
    torch.testing.assert_close(found[0].word_attributions, torch.tensor([0.25, 0.0, -1.0]))
    assert found[1].word_attributions.tolist() == [0.0, 0.0, 0.0]
    assert [record.attr_score for record in found] == [-3.0, 0.0]
    assert found[0].pred_prob == 0.25
    assert found[0].pred_class == found[0].true_class == "&lt;x&gt;"


@pytest.mark.filterwarnings("error::UserWarning")
def test_captum_shows_records_without_a_tag_of_the_text():
    text = SCRIPT + "\n<b>"
    found = records({SCRIPT: [1.0, -1.0]}, text, [(0, 8), (len(text) - 3, len(text))], target=SCRIPT, probability=0.5)
    page = visualization.visualize_text(found).data
    assert "<script" not in page
    read = Reader(page)
    assert {tag for tag, _ in read.tags} <= set("table tr th td div span b text mark font br".split())
    # in the words, the row's name and, as predicted and as true label, the target
    assert read.text.count("alert('1')") == 4
    # Captum strips words in angle brackets, as it takes them for special tokens
    assert "<b>" in read.text
    assert [tag for tag, _ in read.tags].count("mark") == 3


def test_newlines_break_the_lines_of_a_record():
    (record,) = records({"A": [1.0]}, "a\nb", [(0, 3)], target="", probability=1.0)
    assert record.raw_input_ids == ["a<br>b"]


def test_html_titles_are_shown_in_the_place_of_scores():
    fragment = html_text("a b", [(0, 1), (2, 3)], [1.0, 0.5], titles=['<x>\n"y"', ""])
    assert [attributes["title"] for attributes in Reader(fragment).scored] == ['<x>\n"y"', ""]
    assert "<x>" not in fragment
    # the shades are those of the scores
    plain = html_text("a b", [(0, 1), (2, 3)], [1.0, 0.5])
    assert [a["style"] for _, a in Reader(fragment).tags] == [a["style"] for _, a in Reader(plain).tags]


def test_html_titles_of_tokens_in_one_piece_are_all_shown_in_the_order_of_the_text():
    spans, titles = [(3, 4), (0, 2), (1, 3), (2, 2), (4, 6)], ["d", "a", "b", "none", "e"]
    read = Reader(html_text("abcdefg", spans, [1, 2, 3, 4, 5], titles=titles))
    assert [attributes["title"] for attributes in read.scored] == ["a\n\nb", "d", "e"]


def test_html_with_a_title_too_few_is_an_error():
    with pytest.raises(ValueError, match="Each of the 2 features needs a title, got 1: pass one for each"):
        html_text("ab", [(0, 1), (1, 2)], [1.0, 1.0], titles=["a"])


def test_signs_stand_before_white_space_and_are_no_text():
    read = Reader(html_text("a\n \t", [(0, 1), (1, 2), (2, 3), (3, 4)], [1.0, 1.0, 1.0, 0.0]))
    assert [attributes.get("data-sign") for attributes in read.scored] == [None, "\u23ce", "\u2423", None]
    assert read.text == "a\n \t"


def test_each_token_can_be_tapped():
    assert all(a["tabindex"] == "0" for a in Reader(html_text("ab", [(0, 1), (1, 2)], [1.0, 0.0])).scored)


def test_letters_are_drawn_after_all_backgrounds():
    """A positioned element is painted after those that are not, so that no background covers a neighbour's letter."""
    read = Reader(html_text("ab c", [(0, 1), (1, 2)], [1.0, 0.5]))
    assert [a["style"] for tag, a in read.tags if tag == "span" and "title" not in a] == [
        "position:relative;color:inherit"
    ] * 3
