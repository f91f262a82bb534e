"""Whole answers on the command line: through the outputs, and through what was thought."""

import json

import pytest
from typer.testing import CliRunner

from captum_heta import LLMTokenAttributionResult, ReasoningTrace
from captum_heta.cli import app
from captum_heta.visualization.view import in_percent

PROMPT = "Anna lives in Rome. Ben lives in Oslo.\nQuestion: Where does Ben live?\nAnswer:"
TARGET = ("--target", " Ben lives in Oslo. Oslo")


def run(*arguments, code=0):
    result = CliRunner().invoke(app, ["explain", PROMPT, *arguments])
    assert result.exit_code == code, result.output
    return result


def test_through_output(tmp_path):
    found = run("--target", " Oslo.", "--through-output", "--json", str(tmp_path / "it.json"))
    assert "directly or through the outputs before it" in found.output
    result = LLMTokenAttributionResult.load(tmp_path / "it.json")
    assert result.output_attr.shape == (len(result.output_tokens),) * 2


def test_generate_stops_after_so_many_tokens(tmp_path):
    run("--generate", "2", "--method", "targeted", "--json", str(tmp_path / "it.json"))
    assert len(LLMTokenAttributionResult.load(tmp_path / "it.json").output_tokens) == 2


def test_reasoning(tmp_path):
    files = ("--html", str(tmp_path / "it.html"), "--json", str(tmp_path / "it.json"))
    found = run(*TARGET, "--thought", "Ben lives in Oslo.", *files)
    trace = ReasoningTrace.load(tmp_path / "it.json")
    assert trace.reasoning_pieces == ["Ben lives in Oslo."]
    share = in_percent(trace.reasoning_attr[0].item())
    assert f"{share} of the answer, before it is followed" in found.output
    assert "Targeted HETA" in found.output
    assert (tmp_path / "it.html").read_text() == trace.to_html()


def test_reasoning_of_a_method(tmp_path):
    run(*TARGET, "--thought", "Ben lives in Oslo.", "--method", "heta", "--json", str(tmp_path / "it.json"))
    assert json.loads((tmp_path / "it.json").read_text())["method"] == "HETA"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--reasoning",), "pass --answer, --generate N or --target"),
        (("--reasoning", *TARGET), "no <think> ... </think>"),
        (("--reasoning", "--through-output", *TARGET), "leave one of them out"),
        (("--reasoning", "--contrast", "Rome", *TARGET), "leave out --contrast"),
        (("--reasoning", "--no-refine", *TARGET), "leave it out, or pass --refine 1"),
        (("--thought", "", *TARGET), "--thought is empty"),
        (("--generate", "3", *TARGET), "--generate explains what the model generates"),
    ],
)
def test_what_does_not_go_together(arguments, said):
    found = run(*arguments, code=1)
    assert said in " ".join(found.output.split())
