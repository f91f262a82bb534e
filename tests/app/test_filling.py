"""What fills the page."""

import json
from types import SimpleNamespace

import pytest

pytest.importorskip("gradio", reason="gradio is not here: pip install 'captum-heta[demo]'")

import gradio as gr

from captum_heta.app.examples import shown_examples
from captum_heta.app.explainer import Choices, Explainer
from captum_heta.app.fields import COUNT, MESSAGES, prompt_of
from captum_heta.app.filling import COMPONENTS, Filling, fill, one_more
from captum_heta.app.links import Shown
from captum_heta.app.long_prompts import MOST
from captum_heta.app.prompts import ChatPrompt, TextPrompt

TEXT = "Anna lives in Rome. Anna lives in"


@pytest.fixture
def filling():
    return Filling(shown_examples(TEXT))


def skipped(value):
    return value == gr.skip()


def request(host="127.0.0.1:7860", **query):
    return SimpleNamespace(headers={"host": host}, query_params=query)


@pytest.mark.parametrize("name", shown_examples(TEXT))
def test_examples_fill_their_tab_alone(filling, name):
    shown = shown_examples(TEXT)[name]
    found = filling.example(name)
    assert len(found) == COMPONENTS
    kind, tabs, fields = found[0], found[1], found[2 : 2 + COUNT]
    assert kind == tabs.selected == shown.prompt.kind
    assert prompt_of(kind, ["" if skipped(field) else field for field in fields]) == shown.prompt
    assert any(map(skipped, fields))  # of other tabs
    assert found[-9:-4] == [shown.target, shown.contrast, shown.method, shown.beside, shown.curvature]


def test_examples_are_of_all_kinds_and_the_model_answers_them(demo):
    asked = shown_examples(TEXT)
    assert next(iter(asked.values())) == Shown(TextPrompt(TEXT))
    assert {shown.prompt.kind for shown in asked.values()} == {"text", "chat", "documents"}
    explainer = Explainer(*demo)
    lengths = {name: len(explainer.located(shown.prompt).ids) for name, shown in asked.items()}
    assert max(lengths.values()) > MOST  # one is looked at coarse to fine
    said = {
        name: demo[1].decode(explainer.choices(shown.prompt, longest=1).answer)
        for name, shown in asked.items()
        if lengths[name] < 100
    }
    assert list(said.values())[1:] == [" Oslo", " Oslo", " cat", " pilot"]


def test_rows_are_there_for_what_is_in_them():
    found = fill(Shown(ChatPrompt((("user", "a"), ("assistant", "b"), ("user", "c")))))
    rows = found[2 + COUNT : 2 + COUNT + MESSAGES + 2]
    assert rows[0] == 3
    assert [row.visible for row in rows[1:-1]] == [True] * 3 + [False] * (MESSAGES - 3)
    assert rows[-1].visible
    assert all(map(skipped, found[2 + COUNT + MESSAGES + 2 : -9]))  # of documents


def test_one_row_more_until_there_are_all():
    count, *rows, button = one_more(4, 2)
    assert count == 3
    assert [row.visible for row in rows] == [True, True, True, False]
    assert button.visible
    count, *rows, button = one_more(4, 3)
    assert count == 4
    assert not button.visible
    assert one_more(4, 4)[0] == 4


def test_a_link_fills_the_page(filling):
    found = filling.opened(request(text="Ben lives in", contrast="Rome", beside="ig"))
    assert found[2] == "Ben lives in"
    assert found[-10:-5] == ["", "Rome", "targeted", "ig", "default"]


@pytest.mark.parametrize("asked", [request(), request(__theme="dark"), request(host="192.0.2.1", text="Ben")])
def test_without_a_link_all_stays(filling, asked):
    found = filling.opened(asked)
    assert len(found) == COMPONENTS + 1  # where a link is told of
    assert all(map(skipped, found))


def test_a_link_that_means_nothing_is_told(filling):
    found = filling.opened(request(text="Ben", method="hetta"))
    assert len(found) == COMPONENTS + 1
    assert "There is no method &#x27;hetta&#x27;" in found[-1]
    assert all(map(skipped, found[:-1]))
    long = json.dumps([["user", "x"]] * (MESSAGES + 1))
    assert f"room for {MESSAGES} messages" in filling.opened(request(chat=long))[-1]


def test_a_links_token_is_chosen_once_there_is_an_answer(filling):
    choices = Choices(TextPrompt("a"), (0,), (), (7, 9))
    assert filling.chosen(request(text="a", step="1"), choices).value == 1
    for step, known in (("2", choices), ("x", choices), ("1", None)):
        assert skipped(filling.chosen(request(text="a", step=step), known))
    assert skipped(filling.chosen(request(text="a"), choices))
