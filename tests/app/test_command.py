import os
import signal
import sys

import pytest
from typer.testing import CliRunner

from captum_heta.app.prompts import TextPrompt
from captum_heta.app.runs import Runs
from captum_heta.cli import app


def run(*arguments):
    return CliRunner().invoke(app, ["demo", *arguments])


def test_without_gradio_one_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    for name in ("page", "handlers", "filling", "entry", "layout"):
        monkeypatch.delitem(sys.modules, f"captum_heta.app.{name}", raising=False)
    result = run()
    assert result.exit_code == 1
    assert "Error: The page needs gradio: pip install 'captum-heta[demo]'." in " ".join(result.output.split())
    assert "Traceback" not in result.output


@pytest.mark.parametrize("arguments", [("--port", "0"), ("--max-tokens", "0")])
def test_numbers_out_of_range_are_refused(arguments):
    assert run(*arguments).exit_code == 2


@pytest.fixture
def served(monkeypatch):
    """What the command passes on, without a server."""
    page = pytest.importorskip("captum_heta.app.page", reason="gradio is not here", exc_type=ImportError)
    seen = {}

    class Page:
        is_running = True

        def close(self, verbose):
            seen["there"] = seen["folder"].is_dir()
            seen["copies"] = os.environ["GRADIO_TEMP_DIR"]

    def build(explainer, folder, prompt, name):
        seen.update(explainer=explainer, folder=folder, prompt=prompt, name=name)
        return Page()

    def serve(page, host, port, runs):
        seen.update(host=host, port=port, runs=runs)
        signal.raise_signal(getattr(signal, seen.get("signal", "SIGTERM")))
        return f"http://{host}:{port}/"

    monkeypatch.setenv("GRADIO_TEMP_DIR", "elsewhere")  # put back after the test
    monkeypatch.setattr(page, "build", build)
    monkeypatch.setattr(page, "serve", serve)
    return seen


def test_options_reach_the_page_and_its_folder_is_removed(served):
    result = run("--host", "0.0.0.0", "--port", "7999", "--max-tokens", "3")
    assert result.exit_code == 0, result.output
    assert "http://0.0.0.0:7999/" in result.output
    assert (served["host"], served["port"], served["name"]) == (
        "0.0.0.0",
        7999,
        "the small one that comes with captum_heta",
    )
    assert served["there"]
    assert served["copies"] == str(served["folder"])
    assert not served["folder"].exists()
    assert served["runs"] is served["explainer"].runs
    with pytest.raises(ValueError, match="this page takes 3"):
        served["explainer"].located(TextPrompt(served["prompt"]))


def test_it_listens_to_this_machine_alone_by_default(served):
    assert run().exit_code == 0
    assert served["host"] == "127.0.0.1"
    assert served["port"] is None


@pytest.mark.parametrize("done", [True, False])
def test_the_process_is_left_if_something_still_runs(served, monkeypatch, done):
    left = []
    monkeypatch.setattr(Runs, "end", lambda runs, seconds: done)
    monkeypatch.setattr(os, "_exit", lambda code: left.append((code, served["folder"].exists())))
    assert run().exit_code == 0
    assert left == ([] if done else [(0, False)])
