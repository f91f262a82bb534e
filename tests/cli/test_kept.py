"""What was computed is shown and written, whatever goes wrong afterwards or in between."""

import io
import json
import os
import sys
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from captum_heta.benchmark.report import Report
from captum_heta.cli import app, messages
from captum_heta.comparison import Comparison
from captum_heta.methods import METHODS

PROMPT = "Ben lives in Oslo. Ben lives in"


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


def interrupted(prompt, target):
    raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def _methods(monkeypatch):
    monkeypatch.setitem(METHODS, "stop", SimpleNamespace(title="Stop", make=lambda *_: interrupted))
    monkeypatch.setitem(METHODS, "nan", SimpleNamespace(title="Nan", make=lambda *_: lambda *_: [float("nan")] * 8))


def test_an_interruption_keeps_the_methods_before_it(tmp_path):
    html, saved = tmp_path / "page.html", tmp_path / "scores.json"
    methods = ("--methods", "normxlogit,stop,tdd")
    result = run("compare", PROMPT, *methods, "--html", str(html), "--json", str(saved))
    assert result.exit_code == 130
    for line in ("NormXLogit", "Stop", "TDD", "KeyboardInterrupt: interrupted"):
        assert line in result.output
    found = Comparison.load(saved)
    assert found.names == ["NormXLogit"]
    assert list(found.failures) == ["Stop", "TDD"]
    assert html.read_text() == found.to_html()


def test_an_interruption_of_the_first_method_changes_no_file(tmp_path):
    saved = tmp_path / "scores.json"
    saved.write_text("of before")
    result = run("compare", PROMPT, "--methods", "stop,normxlogit", "--json", str(saved))
    assert result.exit_code == 130
    assert saved.read_text() == "of before"


@pytest.mark.parametrize("broken", ["html", "json"])
def test_a_file_that_fails_takes_nothing_with_it(broken, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("No space left on device")

    files = {"html": tmp_path / "page.html", "json": tmp_path / "scores.json"}
    function = {"html": "captum_heta.comparison.Comparison.to_html", "json": "captum_heta.comparison.saved.to_json"}
    monkeypatch.setattr(function[broken], fail)
    options = [part for kind, file in files.items() for part in (f"--{kind}", str(file))]
    result = run("compare", PROMPT, "--methods", "normxlogit", *options)
    assert result.exit_code == 1
    assert "NormXLogit" in result.stdout
    assert PROMPT in result.stdout
    told_of = " ".join(result.stderr.split())
    assert told_of.count("Error:") == 1
    assert "was not written. No space left on device" in told_of
    assert not files.pop(broken).exists()
    (other,) = files.values()
    assert other.exists()
    assert f"Wrote {other}" in result.stderr


def test_explain_shows_what_it_could_not_write(tmp_path, monkeypatch):
    file = tmp_path / "scores.json"
    file.write_text("of before")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("No space left on device")))
    result = run("explain", PROMPT, "--curvature", "fisher", "--json", str(file))
    assert result.exit_code == 1
    assert "Highest scores" in result.stdout
    assert "No space left on device" in result.stderr
    assert file.read_text() == "of before"
    assert list(tmp_path.iterdir()) == [file]


def test_scores_that_are_no_numbers_fail_alone(tmp_path):
    html, saved = tmp_path / "page.html", tmp_path / "scores.json"
    methods = ("--methods", "nan,normxlogit")
    result = run("compare", PROMPT, *methods, "--html", str(html), "--json", str(saved))
    assert result.exit_code == 0, result.output
    assert "ValueError: its scores are not finite." in result.output
    assert "NormXLogit" in html.read_text()
    text = saved.read_text()
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name))["failures"]["Nan"]


def test_a_terminal_without_the_characters(tmp_path):
    saved = tmp_path / "scores.json"
    command = ["compare", "Bén lives in\x1b", "--methods", "normxlogit", "--json", str(saved)]
    done = CliRunner(charset="ascii").invoke(app, command)
    assert done.exit_code == 0, done.output
    assert rb"B\xe9n lives in\u241b" in done.stdout_bytes
    assert saved.exists()


def test_a_benchmark_shows_its_tables_if_no_report_can_be_written(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("No space left on report.md")

    monkeypatch.setattr(Report, "write", fail)
    quick = ("--methods", "random", "--metrics", "dsa", "--limit", "1")
    result = run("benchmark", "--out", str(tmp_path), *quick)
    assert result.exit_code == 1
    assert "DSA" in result.stdout
    assert "report.md" in result.stderr


class TestControlCharacters:
    def test_of_errors_paths_and_names(self, tmp_path):
        for arguments in (
            ("explain", PROMPT, "--curvature", "a\x1b[2Jb\u202ec"),
            ("explain", PROMPT, "--model", "no/such\x1b[2Jb\u202ec"),
            ("explain", PROMPT, "--json", "no\x1b[2Jb\u202ec/x"),
            ("compare", PROMPT, "--methods", "a\x1b[2Jb\u202ec"),
            ("benchmark", "--out", str(tmp_path), "--data", "longra=a\x1b[2Jb\u202ec.json"),
        ):
            result = run(*arguments)
            assert result.exit_code == 1
            assert result.output
            assert not set("\x1b\u202e") & set(result.output), arguments

    def test_of_prompts_targets_and_files(self, tmp_path):
        file = tmp_path / "a\x1b[2Jb\u202ec"
        prompt, target = "Ben \x1b[2J\x9b\u2066lives\u061c in", "\x1b]0;\u202e"
        for command in (("explain", "--curvature", "fisher"), ("compare", "--methods", "normxlogit")):
            result = run(*command[:1], prompt, *command[1:], "--target", target, "--json", str(file))
            assert result.exit_code == 0, result.output
            assert file.exists()
            assert not set("\x1b\x9b\u2066\u061c\u202e") & set(result.output)
            assert "Ben ␛[2J\ufffd\ufffdlives\ufffd in" in result.output

    def test_of_a_results_folder(self, tmp_path):
        quick = ("--methods", "random,normxlogit", "--metrics", "dsa", "--limit", "1")
        assert run("benchmark", "--out", str(tmp_path), *quick).exit_code == 0
        lines = [json.loads(line) for line in (tmp_path / "lines-0.jsonl").read_text().splitlines()]
        for line in lines:
            if line["method"] != "random":
                line.pop("metrics")
                line["error"] = "a\x1b[2J\u202e[red]<b>|"
        (tmp_path / "lines-0.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        result = run("benchmark", "--out", str(tmp_path), *quick)
        assert result.exit_code == 0, result.output
        assert "a␛[2J\ufffd[red]<b>|" in result.output
        assert not set("\x1b\u202e") & set(result.output)
        page = (tmp_path / "report.md").read_text()
        assert "a␛&#91;2J\ufffd&#91;red&#93;&lt;b&gt;&#124;" in page


def test_an_exit_is_no_error():
    import typer

    with pytest.raises(typer.Exit), messages.reported_errors(debug=False):
        raise typer.Exit(3)


def test_streams_that_are_not_files_are_left_alone(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    messages.print_note("a\x1b")
    assert stream.getvalue() == "a␛\n"
