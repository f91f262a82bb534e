"""The page of an answer and its sources, as a browser reads it."""

import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from captum_heta.visualization.sources import (
    AnswerSentence,
    ShownDocument,
    ShownPart,
    Source,
    SourcesView,
    fragment,
    page,
)
from captum_heta.visualization.view import NumberTable

NAME = "<b>menu</b> & 'list'.txt"
VOID = {"meta", "link", "br", "hr", "img"}


class Reader(HTMLParser):
    """The tags with their attributes, those around them, and the text in each."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts = [], [], {}
        self.feed(text)
        self.close()
        assert self.open == [], "each tag is closed"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs), [name for name, _ in self.open]))
        if tag not in VOID:
            self.open.append((tag, len(self.tags) - 1))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for _, number in self.open:
            self.texts[number] = self.texts.get(number, "") + data

    def of(self, tag):
        """The attributes and the text of each such tag."""
        return [(attrs, self.texts.get(i, "")) for i, (name, attrs, _) in enumerate(self.tags) if name == tag]


def view(cited=True):
    sentences = [
        AnswerSentence(
            "Ben eats <i>rice</i>.",
            [1, 2] if cited else [],
            [Source(1, "a.txt", 0.6), Source(2, NAME, 0.3), Source(0, "rest of the prompt", 0.07)],
            "3.0% from 2 others",
            [Source(1, "Ben likes rice.", 0.6), Source(0, "What does Ben eat?", 0.07)],
        ),
        AnswerSentence("Who knows?", [], [], "", []),
    ]
    text = [ShownPart("Ben likes rice.", 1.0, "60%"), ShownPart("\n", None, ""), ShownPart("No.", 0.0, "")]
    documents = [
        ShownDocument(1, "a.txt", 0.6, [(1, 0.6)], [text]),
        ShownDocument(2, NAME, 0.3, [(1, 0.3)], []),
        ShownDocument(0, "rest of the prompt", 0.07, [], [text, text]),
    ]
    table = NumberTable("Shares", ["answer", "1", "2"], [("[1] a.txt", ["60%", "60%", "0.0%"])], ["a", "b", "c"])
    return SourcesView("Where?", ["How to read it."], sentences, documents, [table], [("method", "HETA")])


@pytest.fixture(params=[page, fragment])
def read(request):
    return Reader(request.param(view()))


def test_links_lead_to_a_place_of_their_own(read):
    ids = [attrs["id"] for _, attrs, _ in read.tags if "id" in attrs]
    links = [attrs["href"] for attrs, _ in read.of("a")]
    assert len(set(ids)) == len(ids) == 5
    assert links
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert all(link.startswith("#") for link in links)


def test_has_no_script_and_fetches_nothing(read):
    assert not {tag for tag, _, _ in read.tags} & {"script", "link", "img", "iframe", "object"}
    assert not [name for _, attrs, _ in read.tags for name in attrs if name.startswith("on") or name == "src"]
    assert "http" not in page(view())


def test_headings_go_down_one_by_one():
    for made, first in ((page, 1), (fragment, 2)):
        levels = [int(tag[1]) for tag, _, _ in Reader(made(view())).tags if re.fullmatch(r"h\d", tag)]
        assert levels[0] == first
        assert all(later <= before + 1 for before, later in pairwise(levels))
        assert max(levels) == first + 2


def test_each_bar_has_its_number_beside_it(read):
    bars = [attrs for attrs, _ in read.of("span") if attrs.get("class") == "heta-bar"]
    assert len(bars) == 5
    assert all(attrs["aria-hidden"] == "true" for attrs in bars)
    said = [text for _, text in read.of("b")]
    assert said == ["Ben eats <i>rice</i>.", "60%", "30%", "7.0%", "60%", "7.0%", "Who knows?"]


def test_lists_have_names_and_links_say_where(read):
    lists = [attrs for attrs, _ in read.of("ul")]
    assert [attrs["aria-label"] for attrs in lists] == [
        "Documents that sentence 1 comes from",
        "Sentences that sentence 1 comes from",
    ]
    assert all(attrs["role"] == "list" for attrs in lists)
    assert {attrs["aria-label"] for attrs, text in read.of("a") if text == "[1]"} == {"document 1"}


def test_no_share_of_a_text_is_told_by_colour_alone(read):
    shaded = [(attrs, text) for attrs, text in read.of("span") if "background" in attrs.get("style", "")]
    assert [text for _, text in shaded] == ["Ben likes rice."] * 3
    assert [text for _, text in read.of("sup")] == ["60%"] * 3


def test_text_stays_text(read):
    assert {tag for tag, _, _ in read.tags} <= {
        *("html", "head", "meta", "title", "style", "body", "div", "h1", "h2", "h3", "h4", "p", "b", "a", "bdi"),
        *("ol", "ul", "li", "span", "small", "details", "summary", "sup", "table", "tr", "td", "th"),
    }
    assert f"[2] {NAME} 30% of the answer" in [text for tag in ("h3", "h4") for _, text in read.of(tag)]


def test_marks_are_behind_their_sentence():
    (first, _), (last, _) = [
        (text, attrs) for attrs, text in Reader(page(view())).of("p") if text.startswith(("Ben eats", "Who"))
    ]
    assert first == "Ben eats <i>rice</i>. [1][2]"
    assert last == "Who knows?"
    assert "[1][2]" not in page(view(cited=False))


def test_a_sentence_without_sources_says_so(read):
    assert [text for _, text in read.of("p")].count("Nothing in the prompt supports it.") == 1


def test_what_opens_is_of_the_browser(read):
    assert [text for _, text in read.of("summary")] == [
        "The sentences that it comes from",
        "Text of a.txt",
        "Text of the rest of the prompt",
    ]
    assert all(around[-1] == "details" for tag, _, around in read.tags if tag == "summary")


def test_two_on_one_page_have_anchors_of_their_own():
    assert view().key != view(cited=False).key
    assert view().key == view().key


def test_dark_and_light_are_the_readers():
    assert "color-scheme: light dark" in page(view())
    assert "light-dark(" in page(view())
    assert 'name="viewport"' in page(view())
