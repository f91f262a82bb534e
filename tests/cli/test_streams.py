"""Prompts from standard input and files, results to standard output, and what the help does without."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import captum_heta
from captum_heta import Comparison, LLMTokenAttributionResult
from captum_heta.cli import app

PROMPT = "Ben lives in Oslo. Ben lives in"
QUICK = ("--curvature", "fisher")


def run(*arguments, **options):
    return CliRunner().invoke(app, list(arguments), **options)


def shown(*arguments, **options):
    result = run(*arguments, **options)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_prompt_from_standard_input(ending):
    shown_json = shown("explain", "-", *QUICK, "--json", "-", input=PROMPT + ending)
    assert json.loads(shown_json)["prompt"] == PROMPT


def test_a_prompt_from_a_file(tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_text(f"{PROMPT}\n\n", encoding="utf-8")
    assert json.loads(shown("explain", "--file", str(file), *QUICK, "--json", "-"))["prompt"] == PROMPT + "\n"
    assert json.loads(shown("explain", "--file", "-", *QUICK, "--json", "-", input=PROMPT))["prompt"] == PROMPT


def test_what_cannot_be_loaded_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    result = run("explain", "Ben", "--model", str(tmp_path))
    assert result.exit_code == 1
    assert f"Error: --model {tmp_path}: " in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Ben", "--file", "a.txt"), "The prompt is on the command line and in --file"),
        (("--file", "no/such.txt"), "--file no/such.txt cannot be read: No such file or directory."),
        (("--chat", "no/such.json"), "--chat no/such.json cannot be read: No such file or directory."),
        (("-",), "The prompt is empty"),
        (("Ben", "--json", "-", "--html", "-"), "Both --html and --json write to standard output"),
        (("Ben", "--answer", "--target", "a"), "--answer explains what the model generates"),
        (("Ben", "--device", "cuda:99"), "--device cuda:99 cannot be used"),
        (("Ben", "--device", "nowhere"), "--device nowhere cannot be used"),
        (("Ben", "--device", "nowhere"), ". Pass cpu or another."),
        (("Ben", "--model", "."), "--model . has no config.json: give the folder of a saved model"),
        (("Ben", "--model", "/no/such/folder"), "--model /no/such/folder is no folder"),
    ],
)
@pytest.mark.parametrize("command", ["explain", "compare"])
def test_mistakes_are_told(command, arguments, message):
    result = run(command, *arguments, input="")
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output


def test_bytes_that_are_no_text_are_told(tmp_path):
    (tmp_path / "a").write_bytes(b"\xff\xfe")
    assert "is no UTF-8 text" in " ".join(run("explain", "--file", str(tmp_path / "a")).stderr.split())


def test_standard_output_has_the_result_alone(tmp_path):
    file = tmp_path / "a.json"
    text = shown("explain", PROMPT, *QUICK, "--json", "-")
    file.write_text(text)
    assert LLMTokenAttributionResult.load(file).prompt == PROMPT
    text = shown("compare", PROMPT, "--methods", "normxlogit", "--json", "-")
    file.write_text(text)
    assert Comparison.load(file).names == ["NormXLogit"]
    assert shown("explain", PROMPT, *QUICK, "--html", "-").startswith("<!doctype html>")


def test_a_page_of_an_explanation(tmp_path):
    file = tmp_path / "a.html"
    text = shown("explain", PROMPT, *QUICK, "--html", str(file))
    assert PROMPT in text
    assert "Oslo" in file.read_text()


def test_quiet_writes_and_says_nothing(tmp_path):
    file = tmp_path / "a.json"
    result = run("compare", PROMPT, "--methods", "normxlogit", "--quiet", "--json", str(file))
    assert result.output == ""
    assert file.exists()


def test_an_answer_is_explained_without_its_end():
    prompt = "Anna lives in Rome. Ben lives in Oslo.\nQuestion: Where does Ben live?\nAnswer:"
    record = json.loads(shown("explain", prompt, "--answer", *QUICK, "--json", "-"))
    assert record["target"] == " Oslo."
    assert len(record["output_tokens"]) == 2
    text = shown("explain", prompt, "--answer", *QUICK)
    assert "Each output token, and the tokens with the largest shares of its scores:" in text
    assert "Oslo (" in text


def test_a_device_is_taken():
    assert (
        json.loads(shown("explain", PROMPT, *QUICK, "--device", "cpu", "--json", "-"))["provenance"]["device"] == "cpu"
    )


def test_an_unlikely_target_is_told():
    assert "The model finds this output unlikely" in shown("explain", PROMPT, *QUICK, "--target", " trombone")


def test_version():
    assert shown("--version").strip() == captum_heta.__version__


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["explain", "--help"],
        ["compare", "--help"],
        ["demo", "--help"],
        ["benchmark", "--help"],
    ],
)
def test_help_does_without_torch(arguments):
    script = (
        "import sys\nfrom captum_heta.cli import app\n"
        f"try:\n    app({arguments!r})\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'captum', 'transformers', 'matplotlib', 'numpy', 'gradio'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


@pytest.mark.parametrize("command", [("benchmark", "--out", "out"), ("demo",)])
def test_a_device_is_checked_by_the_other_commands_too(command, tmp_path, monkeypatch):
    pytest.importorskip("gradio")
    monkeypatch.chdir(tmp_path)
    result = run(*command, "--device", "nowhere")
    assert result.exit_code == 1
    assert "--device nowhere cannot be used" in " ".join(result.stderr.split())


def test_a_benchmark_has_one_way_to_say_where_it_runs(tmp_path):
    result = run("benchmark", "--out", str(tmp_path), "--model", "m", "--device", "cpu", "--device-map", "auto")
    assert "--device and --device-map both say where the model runs" in " ".join(result.stderr.split())
