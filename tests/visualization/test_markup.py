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
    assert [tag for tag, _ in read.tags] == ["p"] + ["span"] * len(shown)
    assert [attributes["title"] for _, attributes in read.tags[1:]] == [f"{score:.4g}" for score in shown]


def test_html_escapes_all_it_shows():
    fragment = html_text(SCRIPT, [(0, 8), (8, 20)], [1.0, -0.5])
    assert Reader(fragment).text == SCRIPT
    assert "<script" not in fragment
    assert fragment.count("<") == 2 + 2 * 2


def test_html_shades_and_wraps():
    read = Reader(html_text("a b c", [(0, 1), (2, 3), (4, 5)], [2.0, -2.0, 0.0]))
    (_, paragraph), *spans = read.tags
    assert paragraph["dir"] == "auto"
    assert "white-space: pre-wrap" in paragraph["style"]
    assert "unicode-bidi: plaintext" in paragraph["style"]
    assert [attributes["style"] for _, attributes in spans] == [
        "background:#005a28;color:#ffffff",
        "background:#af1423;color:#ffffff",
        "background:#ffffff;color:#000000",
    ]


def test_html_of_zeros_and_of_nothing():
    assert "background:#ffffff" in html_text("a", [(0, 1)], [0.0])
    assert Reader(html_text("a", [], [])).tags[1:] == []
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


@pytest.mark.filterwarnings("error")
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
