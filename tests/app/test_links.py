"""Links that carry what is on the page."""

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captum_heta.app.links import LONGEST, NONE, Shown, is_loopback, link, read
from captum_heta.app.prompts import ChatPrompt, DocumentsPrompt, TextPrompt

ADDRESS = "http://127.0.0.1:7860/"
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PROMPTS = st.one_of(
    st.builds(TextPrompt, TEXTS),
    st.builds(ChatPrompt, st.lists(st.tuples(st.sampled_from(["user", "system"]), TEXTS), max_size=3).map(tuple)),
    st.builds(DocumentsPrompt, st.lists(st.tuples(TEXTS, TEXTS), max_size=3).map(tuple), TEXTS),
)


def query(address):
    return dict(parse_qsl(urlsplit(address).query, keep_blank_values=True))


@given(PROMPTS, TEXTS, TEXTS, st.none() | st.integers(0, 50), st.sampled_from([NONE, "ig"]))
def test_what_a_link_carries_comes_back(prompt, target, contrast, step, beside):
    shown = Shown(prompt, target, step, contrast, "heta", beside, "exact")
    pairs = getattr(prompt, "messages", getattr(prompt, "documents", None))
    found = link(ADDRESS, shown)
    assert found.startswith(f"{ADDRESS}?")
    if pairs == ():
        with pytest.raises(ValueError, match="must be a list of pairs of texts"):
            read(query(found))
    else:
        assert read(query(found)) == shown


def test_what_is_as_at_the_start_is_left_out():
    assert link(ADDRESS, Shown(TextPrompt("a b"))) == f"{ADDRESS}?text=a+b"
    assert query(link(ADDRESS, Shown(TextPrompt("a"), step=0))) == {"text": "a", "step": "0"}


def test_an_address_without_a_prompt_carries_nothing():
    assert read({}) is None
    assert read({"__theme": "dark", "step": "x"}) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": "a", "chat": "[]"}, "The link has text and chat: it carries one of them"),
        ({"chat": "x"}, "What the link has for chat is no JSON"),
        ({"chat": "[]"}, "What the link has for chat must be a list of pairs of texts, got '\\[\\]'"),
        ({"chat": '{"a": 1}'}, "must be a list of pairs"),
        ({"documents": '[["a", 1]]'}, "What the link has for documents must be a list of pairs"),
        ({"chat": '[["wizard", "x"]]'}, "The link has a message of the role 'wizard'; there are system, user, assis"),
        ({"text": "a", "method": "hetta"}, "There is no method 'hetta'"),
        ({"text": "a", "beside": "hetta"}, "There is no method 'hetta'"),
        ({"text": "a", "curvature": "newton"}, "The link has the curvature 'newton'; there are default, auto"),
        ({"text": "a", "step": "-1"}, "The link has the token '-1' of the answer, which is no number"),
    ],
)
def test_links_that_mean_nothing_are_errors(given, message):
    with pytest.raises(ValueError, match=message):
        read(given)


def test_a_link_has_an_end():
    room = LONGEST - len(link(ADDRESS, Shown(TextPrompt(""))))
    assert len(link(ADDRESS, Shown(TextPrompt("a" * room)))) == LONGEST
    with pytest.raises(ValueError, match="The link would have 16,001 characters, and may have 16,000: shorten the te"):
        link(ADDRESS, Shown(TextPrompt("a" * (room + 1))))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://127.0.0.1:7860/", True),
        ("http://localhost/", True),
        ("http://[::1]:80/", True),
        ("http://192.0.2.1:7860/", False),
        ("http://127.0.0.1.evil.example/", False),
        ("http:///", False),
    ],
)
def test_which_addresses_are_this_machines_alone(address, expected):
    assert is_loopback(address) == expected
