import logging
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("gradio", reason="gradio is not here: pip install 'captum-heta[demo]'")

from captum_heta.app.handlers import NONE, Handlers, forget
from captum_heta.comparison import Comparison

PROMPT = "Anna lives in Rome. Ben lives in Oslo.\nQuestion: Where does Ben live?\nAnswer:"
SETTINGS = ("normxlogit", NONE, "default", "")
ASKED = SimpleNamespace(session_hash="a session")  # what of Gradio's request is read


@pytest.fixture
def do(explainer, tmp_path):
    return Handlers(explainer, tmp_path)


def test_predict_lists_ten_tokens_with_probabilities_and_the_continuation(do, explainer):
    choices, token, step, _ = do.predict(ASKED, PROMPT)
    assert len(token.choices) == 10
    assert token.choices[0][0].startswith("\N{OPEN BOX}Oslo ")
    assert token.choices[0][0].endswith("%")
    assert token.choices[-1][0].endswith(" <0.1%")
    assert [value for _, value in token.choices] == [number for number, _ in choices.likeliest]
    assert [label for label, _ in step.choices] == [explainer.label(number) for number in choices.continuation]
    assert token.value is None
    assert step.value is None


@pytest.mark.parametrize("source", ["typed", "token", "step", "nothing"])
def test_each_way_to_choose_explains_its_output(do, explainer, source):
    choices = do.predict(ASKED, PROMPT)[0]
    rest = (choices, *SETTINGS, None)
    shown, html_file, json_file, session = {
        "typed": lambda: do.explain_typed(ASKED, PROMPT, "Rome", *rest),
        "token": lambda: do.explain_token(ASKED, PROMPT, choices.likeliest[2][0], *rest),
        "step": lambda: do.explain_step(ASKED, PROMPT, 1, *rest),
        "nothing": lambda: do.explain(ASKED, PROMPT, "", None, None, *rest),
    }[source]()
    found = Comparison.load(json_file.value["path"] if isinstance(json_file.value, dict) else json_file.value)
    decode = explainer.tokenizer.decode
    expected = {"typed": " Rome", "token": decode([choices.likeliest[2][0]]), "step": ".", "nothing": " Oslo"}[source]
    assert found.target == expected
    assert found.names == ["NormXLogit"]
    assert "NormXLogit" in shown
    assert html_file.visible
    assert json_file.visible
    page = (Path(session) / "heta-comparison.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")


def test_a_session_keeps_its_folder_and_another_has_its_own(do, tmp_path):
    rest = (None, *SETTINGS)
    first = do.explain_typed(ASKED, PROMPT, "Rome", *rest, None)[-1]
    assert do.explain_typed(ASKED, PROMPT, "Oslo", *rest, first)[-1] == first
    second = do.explain_typed(ASKED, PROMPT, "Oslo", *rest, None)[-1]
    assert {Path(first), Path(second)} == set(tmp_path.iterdir())
    forget(first)
    assert list(tmp_path.iterdir()) == [Path(second)]
    forget(first)
    forget(None)
    assert list(tmp_path.iterdir()) == [Path(second)]


@pytest.mark.parametrize(
    ("prompt", "token", "settings", "message"),
    [
        (" ", 5, SETTINGS, "The prompt is empty"),
        (PROMPT, 5, SETTINGS, "press Predict again"),
        (PROMPT, None, ("heta", "heta", "default", ""), "The methods are heta and heta"),
        ("Anna " * 200, None, SETTINGS, "this page takes 100"),
        ("Anna \ud800", None, SETTINGS, "The prompt has half a character"),
    ],
)
def test_what_a_person_can_mend_is_told(do, caplog, prompt, token, settings, message):
    shown, html_file, json_file, session = do.explain(ASKED, prompt, "", token, None, None, *settings, None)
    assert message in shown
    assert 'role="alert"' in shown
    assert not html_file.visible
    assert not json_file.visible
    assert session is None
    assert not caplog.records


def test_a_contrast_is_in_the_question_and_in_the_files(do):
    settings = ("targeted", "gxa", "default", "Rome")
    shown, _, _, session = do.explain_typed(ASKED, PROMPT, "Oslo", None, *settings, None)
    assert "and not &#39; Rome&#39;?" in shown
    assert shown.count("explains the target alone") == 1
    assert "contribution flow " in shown
    found = Comparison.load(Path(session) / "heta-comparison.json")
    assert found.contrast == " Rome"
    assert found.names == ["Targeted HETA", "Gradient x Activation"]
    shown, html_file, *_ = do.explain_typed(ASKED, PROMPT, "Oslo", None, "gxa", NONE, "default", "Rome", session)
    assert "None of the methods Gradient x Activation explains a difference" in shown
    assert not html_file.visible


def test_predictions_that_fail_leave_no_choices(do):
    choices, token, step, shown = do.predict(ASKED, "")
    assert choices is None
    assert token.choices == step.choices == []
    assert "The prompt is empty" in shown


def test_an_unexpected_error_goes_to_the_log_and_not_onto_the_page(do, explainer, monkeypatch, caplog):
    def fail(*_):
        raise KeyError("secret detail")

    monkeypatch.setattr(explainer, "ids_of", fail)
    with caplog.at_level(logging.ERROR):
        shown = [do.predict(ASKED, PROMPT)[-1], do.explain(ASKED, PROMPT, "a", None, None, None, *SETTINGS, None)[0]]
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


def test_a_run_is_stopped_by_its_session_alone(do, explainer, monkeypatch):
    began, go_on, told = threading.Event(), threading.Event(), {}
    choices = explainer.choices

    def slow(prompt):
        began.set()
        assert go_on.wait(20)
        return choices(prompt)

    monkeypatch.setattr(explainer, "choices", slow)
    monkeypatch.setattr(explainer, "explain", lambda *_: slow(PROMPT))
    for ask in (
        lambda: told.update(shown=do.predict(ASKED, PROMPT)[-1]),
        lambda: told.update(shown=do.explain_typed(ASKED, PROMPT, "Rome", None, *SETTINGS, None)[0]),
    ):
        began.clear()
        go_on.clear()
        thread = threading.Thread(target=ask)
        thread.start()
        assert began.wait(20)
        assert not isinstance(do.stop(SimpleNamespace(session_hash="another")), str)
        assert "Stopped." in do.stop(ASKED)
        go_on.set()
        thread.join(20)
        assert not thread.is_alive()
        assert "Stopped." in told["shown"]
    # nothing runs: what is shown stays
    assert not isinstance(do.stop(ASKED), str)
