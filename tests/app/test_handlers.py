import html
import logging
import re
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlsplit

import pytest

pytest.importorskip("gradio", reason="gradio is not here: pip install 'captum-heta[demo]'")

import gradio as gr

from captum_heta.app.explainer import Choices
from captum_heta.app.fields import COUNT
from captum_heta.app.handlers import Handlers, forget
from captum_heta.app.links import NONE, Shown, read
from captum_heta.app.prompts import TextPrompt
from captum_heta.app.standing import Standing
from captum_heta.comparison import Comparison

TEXT = "Anna lives in Rome. Ben lives in Oslo.\nQuestion: Where does Ben live?\nAnswer:"
CHEAP = {"method": "normxlogit", "beside": NONE}
# what of Gradio's request is read
ASKED = SimpleNamespace(session_hash="a session", headers={"host": "127.0.0.1:7860"}, query_params={})


def values(text=TEXT, typed="", token=None, step=None, choices=None, contrast="", session=None, **chosen):
    """What Gradio passes of the page."""
    settings = ({"method": "targeted", "beside": "heta", "curvature": "default"} | chosen).values()
    return ["text", text, *[""] * (COUNT - 1), typed, token, step, choices, *settings, contrast, session]


def prompt(text=TEXT, longest=20):
    return ["text", text, *[""] * (COUNT - 1), longest]


def last(generator):
    """What is there in the end."""
    for outputs in generator:  # noqa: B007
        pass
    return outputs


@pytest.fixture
def do(explainer, tmp_path):
    return Handlers(explainer, tmp_path)


def test_predict_lists_ten_tokens_with_probabilities_and_the_answer(do, explainer):
    choices, token, step, _ = last(do.predict(ASKED, *prompt(longest=3)))
    assert len(token.choices) == 10
    assert token.choices[0][0].startswith("\N{OPEN BOX}Oslo ")
    assert token.choices[0][0].endswith("%")
    assert token.choices[-1][0].endswith(" <0.1%")
    assert [value for _, value in token.choices] == [number for number, _ in choices.likeliest]
    assert [label for label, _ in step.choices] == [explainer.label(number) for number in choices.answer]
    assert 1 < len(choices.answer) <= 3
    assert token.value is None
    assert step.value is None


@pytest.mark.parametrize("source", ["typed", "token", "step", "nothing"])
def test_each_way_to_choose_explains_its_output(do, explainer, source):
    choices = last(do.predict(ASKED, *prompt()))[0]
    third = choices.likeliest[2][0]
    everything = {"typed": "Rome", "token": third, "step": 1, "choices": choices}  # one undoes the others
    shown, html_file, json_file, session = last(
        {
            "typed": lambda: do.explain_typed(ASKED, *values(**everything, **CHEAP)),
            "token": lambda: do.explain_token(ASKED, *values(**everything, **CHEAP)),
            "step": lambda: do.explain_step(ASKED, *values(**everything, **CHEAP)),
            "nothing": lambda: do.explain(ASKED, *values(**CHEAP)),
        }[source]()
    )
    found = Comparison.load(json_file.value["path"] if isinstance(json_file.value, dict) else json_file.value)
    decode = explainer.tokenizer.decode
    expected = {"typed": " Rome", "token": decode([third]), "step": ".", "nothing": " Oslo"}[source]
    assert found.target == expected
    assert found.names == ["NormXLogit"]
    assert "NormXLogit" in shown
    assert html_file.visible
    assert json_file.visible
    page = (Path(session) / "heta-comparison.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")


def test_choices_after_another_prompt_go(do):
    choices = Choices(TextPrompt(TEXT), (), (), ())
    fields = prompt()[:-1]
    assert do.stale(*fields, choices) == do.stale(*fields, None) == (gr.skip(),) * 3
    found, token, step = do.stale(*prompt("Anna")[:-1], choices)
    assert found is None
    assert token.choices == step.choices == []
    assert do.stale("chat", *fields[1:], choices)[0] is None


def test_a_session_keeps_its_folder_and_another_has_its_own(do, tmp_path):
    def explained(typed, session=None):
        return last(do.explain_typed(ASKED, *values(typed=typed, session=session, **CHEAP)))[-1]

    first = explained("Rome")
    assert explained("Oslo", first) == first
    second = explained("Oslo")
    assert {Path(first), Path(second)} == set(tmp_path.iterdir())
    forget(first)
    assert list(tmp_path.iterdir()) == [Path(second)]
    forget(first)
    forget(None)
    assert list(tmp_path.iterdir()) == [Path(second)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": " ", "token": 5}, "The prompt is empty"),
        ({"token": 5}, "press Answer again"),
        ({"method": "heta", "beside": "heta"}, "The methods are heta and heta"),
        ({"text": "Anna " * 200}, "this page takes 100"),
        ({"text": "Anna \ud800"}, "The prompt has half a character"),
    ],
)
def test_what_a_person_can_mend_is_told(do, caplog, given, message):
    shown, html_file, json_file, session = last(do.explain(ASKED, *values(**given)))
    assert message in shown
    assert 'role="alert"' in shown
    assert not html_file.visible
    assert not json_file.visible
    assert session is None
    assert not caplog.records


def test_a_contrast_is_in_the_question_and_in_the_files(do):
    both = values(typed="Oslo", contrast="Rome", beside="gxa")
    shown, _, _, session = last(do.explain_typed(ASKED, *both))
    assert "and not &#39; Rome&#39;?" in shown
    assert shown.count("explains the target alone") == 1
    assert "contribution flow" in shown
    found = Comparison.load(Path(session) / "heta-comparison.json")
    assert found.contrast == " Rome"
    assert found.names == ["Targeted HETA", "Gradient x Activation"]
    alone = values(typed="Oslo", contrast="Rome", method="gxa", beside=NONE, session=session)
    shown, html_file, *_ = last(do.explain_typed(ASKED, *alone))
    assert "None of the methods Gradient x Activation explains a difference" in shown
    assert not html_file.visible


def test_predictions_that_fail_leave_no_choices(do):
    choices, token, step, shown = last(do.predict(ASKED, *prompt("")))
    assert choices is None
    assert token.choices == step.choices == []
    assert "The prompt is empty" in shown


def test_an_unexpected_error_goes_to_the_log_and_not_onto_the_page(do, explainer, monkeypatch, caplog):
    def fail(*_):
        raise KeyError("secret detail")

    monkeypatch.setattr(explainer, "located", fail)
    with caplog.at_level(logging.ERROR):
        shown = [last(do.predict(ASKED, *prompt()))[-1], last(do.explain(ASKED, *values(typed="a")))[0]]
    for page in shown:
        assert "Something failed that should not" in page
        assert "secret" not in page
        assert "Traceback" not in page
    assert caplog.text.count("Traceback") == 2
    assert "secret detail" in caplog.text


def test_the_curvature_is_there_for_heta_alone(do):
    assert do.has_curvature("heta", "ig").visible
    assert do.has_curvature("targeted", NONE).visible
    assert do.has_curvature("ig", "heta").visible
    assert not do.has_curvature("ig", NONE).visible


@pytest.fixture
def slow(explainer, until_stopped, monkeypatch):
    """Predictions and explanations go on until they are stopped, or until ``go_on``."""
    state = SimpleNamespace(began=threading.Event(), ended=threading.Event())
    work = lambda *_, **__: until_stopped(state.began, state.ended)  # noqa: E731
    monkeypatch.setattr(explainer, "choices", work)
    monkeypatch.setattr(explainer, "explain", work)
    return state


@pytest.mark.parametrize("name", ["predict", "explain"])
def test_a_run_is_stopped_by_its_session_alone(do, slow, name):
    asked = prompt() if name == "predict" else values(typed="Rome")
    run = getattr(do, name)(ASKED, *asked)
    assert "so far" in "".join(map(str, next(run)))
    assert slow.began.wait(20)
    assert not isinstance(do.stop(SimpleNamespace(session_hash="another")), str)
    assert "Stopped." in do.stop(ASKED)
    assert slow.ended.wait(20)
    assert "Stopped." in "".join(map(str, last(run)))
    # nothing runs: what is shown stays
    assert not isinstance(do.stop(ASKED), str)


def test_who_waits_is_told_for_whom(do, slow):
    first = do.explain(ASKED, *values())
    next(first)
    assert slow.began.wait(20)
    other = SimpleNamespace(session_hash="another")
    second = do.explain(other, *values())
    shown = next(second)[0]
    assert "Another run has the model. The model reads the prompt: " in shown
    assert 'role="status"' in shown
    assert "Stopped." in do.stop(other)
    assert "Stopped." in last(second)[0]
    do.stop(ASKED)
    last(first)


def test_another_choice_takes_the_place_of_the_one_before(do, slow):
    first = do.explain(ASKED, *values())
    next(first)
    assert slow.began.wait(20)
    second = do.explain(ASKED, *values(typed="Rome"))
    next(second)
    assert "Stopped" not in str(last(first))  # of what is no longer asked for nothing is shown
    do.stop(ASKED)
    assert "Stopped." in last(second)[0]


def test_the_parts_of_a_long_prompt_are_shown_first(do, explainer, monkeypatch):
    monkeypatch.setattr("captum_heta.app.long_prompts.MOST", 10)
    monkeypatch.setattr("captum_heta.attr.refinement._END", 0)
    monkeypatch.setattr("captum_heta.app.line._LOOK", 0.001)
    monkeypatch.setattr("captum_heta.app.standing.Standing.method", held(Standing.method, 0.05))
    monkeypatch.setattr("captum_heta.app.standing.Standing.parts", held(Standing.parts, 0.3))
    shown = [outputs[0] for outputs in do.explain(ASKED, *values(typed="Oslo", beside=NONE))]
    parts = [page for page in shown if "The parts of the prompt first" in page]
    assert parts
    assert any("Targeted HETA" in page and "<progress" in page for page in shown)
    shades = re.findall(r'<span style="(?:background:(#\w+);)?[^>]*><span[^>]*>([^<]*)</span>', parts[0])
    sentence = [shade for shade, text in shades if text in (" Ben", " Oslo")][:2]
    assert sentence[0] == sentence[1] != ""  # its tokens have one shade
    assert "The parts of the prompt first" not in shown[-1]
    assert "looked into" in shown[-1]


def held(method, seconds):
    """A method that takes some time, so that somebody sees it."""

    def call(*arguments):
        method(*arguments)
        time.sleep(seconds)

    return call


def test_a_link_carries_what_is_on_the_page(do):
    choices = last(do.predict(ASKED, *prompt()))[0]
    third = choices.likeliest[2][0]
    for chosen, expected in (
        ({"typed": "Rome"}, Shown(TextPrompt(TEXT), "Rome")),
        ({"step": 1, "choices": choices}, Shown(TextPrompt(TEXT), step=1)),
        ({"token": third, "choices": choices}, Shown(TextPrompt(TEXT), do._explainer.tokenizer.decode([third]))),
        (
            {"contrast": "Rome", "method": "ig", "beside": NONE, "curvature": "exact"},
            Shown(TextPrompt(TEXT), "", None, "Rome", "ig", NONE, "exact"),
        ),
    ):
        address = html.unescape(re.search(r'href="([^"]*)"', do.link(ASKED, *values(**chosen)))[1])
        assert address.startswith("http://127.0.0.1:7860/?text=Anna+lives")
        assert read(dict(parse_qsl(urlsplit(address).query, keep_blank_values=True))) == expected


@pytest.mark.parametrize(
    ("host", "given", "message"),
    [
        ("192.0.2.1:7860", {}, "Other machines reach this page: no link is made"),
        ("127.0.0.1:7860", {"text": " "}, "The prompt is empty"),
        ("127.0.0.1:7860", {"step": 1}, "press Answer again"),
    ],
)
def test_why_there_is_no_link_is_told(do, host, given, message):
    assert message in do.link(SimpleNamespace(headers={"host": host}), *values(**given))
