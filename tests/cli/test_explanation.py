"""What `explain` shows of Targeted HETA and of HETA, of a contrast, and of what the methods warn of."""

import json
import re
import warnings

import pytest
import torch
from typer.testing import CliRunner

from captum_heta import HETA, LLMTokenAttribution, LLMTokenAttributionResult, TargetedHETA, TextInput
from captum_heta.attr import sequence_terms
from captum_heta.cli import app
from captum_heta.cli.messages import once, warnings_to

PROMPT = "Anna lives in Rome. Ben lives in Oslo.\nQuestion: Where does Ben live?\nAnswer:"
METHOD = {"targeted": TargetedHETA, "heta": HETA}


def run(*arguments):
    return CliRunner().invoke(app, ["explain", *arguments])


def shown(*arguments):
    result = run(PROMPT, *arguments)
    assert result.exit_code == 0, result.output
    assert "Warning" not in result.output
    return result.stdout


def headings(text):
    return re.findall(r"^(Targeted HETA|HETA)  (ours|the paper's)", text, flags=re.MULTILINE)


def modes(text):
    return [mode for mode, *_ in efforts(text)]


def efforts(text):
    """Mode, gradients or products, masked passes and those that were skipped of each method."""
    made = r"21 tokens, curvature (\w+) \((\d+) (?:gradient|product)s?\)"
    passes = r"(\d+) masked passes(?: \((\d+) skipped\))?"
    return re.findall(rf"{made}, {passes}, [\d.]+ s", " ".join(text.split()))


def page_of(tmp_path, *arguments):
    file = tmp_path / "a.html"
    shown(*arguments, "--html", str(file))
    return file.read_text().replace("&#39;", "'")


def test_ours_comes_first_and_the_papers_below():
    text = shown()
    assert headings(text) == [("Targeted HETA", "ours"), ("HETA", "the paper's")]
    assert modes(text) == ["fisher", "fisher"]  # so that the second costs no more than the first
    (_, _, passes, skipped), (_, _, all_passes, none) = efforts(text)
    assert int(passes) + int(skipped or 0) == int(all_passes) == 21  # a product may need fewer
    assert none == ""
    ours, papers = text.split("\nHETA  the paper's, Eq. 5: semantic flow * (0.5 curvature + 0.5 information)\n")
    assert "contribution" in ours
    assert "Highest scores" in ours
    assert "Highest scores" not in papers
    for part in (ours, papers):
        assert re.search(r"^ *[\d.e-]+ +\u2423Oslo *$", part, re.MULTILINE)


@pytest.mark.parametrize(
    ("method", "title", "mode", "term"),
    [("targeted", "Targeted HETA", "fisher", "contribution"), ("heta", "HETA", "low_rank", "semantic")],
)
def test_one_of_them_by_itself_runs_alone(method, title, mode, term, demo, tmp_path, monkeypatch):
    other = {"targeted": "semantic_flow", "heta": "contribution_flow"}[method]
    monkeypatch.setattr(sequence_terms, other, lambda *_: pytest.fail(f"{other} is computed"))
    file = tmp_path / "a.json"
    text = shown("--method", method, "--json", str(file))
    assert [name for name, _ in headings(text)] == [title]
    assert modes(text) == [mode]
    assert term in text[text.index("Highest scores") :]
    expected = LLMTokenAttribution(METHOD[method](demo[0]), demo[1]).attribute(TextInput(PROMPT, demo[1]), " Oslo")
    torch.testing.assert_close(LLMTokenAttributionResult.load(file).seq_attr, expected.seq_attr)


def test_a_curvature_is_that_of_both():
    assert modes(shown("--curvature", "gradient")) == ["gradient", "gradient"]
    assert modes(shown("--method", "heta", "--curvature", "gradient")) == ["gradient"]


def test_json_has_the_first_and_a_page_both(tmp_path):
    file = tmp_path / "a.json"
    page = page_of(tmp_path, "--json", str(file))
    found = LLMTokenAttributionResult.load(file)
    assert found.method == "TargetedHETA"
    assert found.seq_attr.sum().item() == pytest.approx(1)
    heads = re.findall(r"<h2>(.*?) <small>(.*?)</small>", page)
    assert [name for name, _ in heads] == ["Targeted HETA", "HETA"]
    assert [note.split(":")[0] for _, note in heads] == ["ours", "the paper's, Eq. 5"]
    assert all(re.search(r"; largest [\d.]+; 21 tokens, curvature fisher \(.* s$", note) for _, note in heads)
    number = r" [\d.e+-]+( \u00b1 [\d.e+-]+)?(?=\n|$)"
    tips = [re.sub(number, "", tip) for tip in re.findall(r'title="(score[^"]*)"', page)]
    missing = "score\ncontribution flow\ncurvature\ntarget information not looked at: it cannot matter"
    assert set(tips[:21]) <= {"score\ncontribution flow\ncurvature\ntarget information", missing}
    assert tips[:21].count(missing) == found.provenance["skipped"]
    assert set(tips[21:]) == {"score\nsemantic flow\ncurvature\ninformation"}
    assert "HETA flow: attention; HETA information: kl; HETA fusion: sum; HETA seconds:" in page


def test_each_output_of_an_answer_is_in_both_sections(tmp_path):
    page = page_of(tmp_path, "--answer")
    assert page.count("<h3>whole output</h3>") == 2
    assert len(re.findall(r"<summary><b>\S+ \([\d.]+%\)</b>", page)) == 4


def test_a_contrast_is_in_the_question_and_in_the_files(demo, tmp_path):
    file = tmp_path / "a.json"
    question = "Why ' Oslo' (probability 0.95) and not ' Rome'?"
    assert question in page_of(tmp_path, "--contrast", "Rome", "--json", str(file))
    assert question in shown("--contrast", "Rome")
    found = LLMTokenAttributionResult.load(file)
    assert (found.target, found.contrast) == (" Oslo", " Rome")
    llm, inp = LLMTokenAttribution(TargetedHETA(demo[0]), demo[1]), TextInput(PROMPT, demo[1])
    torch.testing.assert_close(found.seq_attr, llm.attribute(inp, "Oslo", contrast="Rome").seq_attr)
    assert not torch.allclose(found.seq_attr, llm.attribute(inp, "Oslo").seq_attr)
    assert "contrast" not in json.loads(shown("--json", "-"))


def test_texts_are_cut_where_they_differ():
    text = shown("--target", " Oslo. Ben", "--contrast", " Oslo? Anna", "--method", "targeted")
    assert "Why ' Oslo.' (probability " in text
    assert "and not ' Oslo?'?" in text


def test_the_output_itself_is_no_contrast():
    result = run(PROMPT, "--contrast", "Oslo")
    assert result.exit_code == 1
    assert "there is no difference to explain" in " ".join(result.stderr.split())


class TestWarnings:
    SINK = "The first token has 80% of the attention flow, \x1b[2Jan attention sink."
    SAID = "The first token has 80% of the attention flow, ␛[2Jan attention sink."

    @pytest.fixture(autouse=True)
    def _sink(self, monkeypatch):
        def sink_of(*_):
            warnings.warn(self.SINK, stacklevel=2)
            return 0.0

        monkeypatch.setattr(sequence_terms, "sink_of", sink_of)

    def test_are_sentences_below_their_method(self):
        result = run(PROMPT)
        assert result.stderr == ""
        ours, papers = " ".join(result.stdout.split()).split("HETA the paper's")
        assert self.SAID not in ours
        assert self.SAID in papers

    def test_are_on_the_page(self, tmp_path):
        page = page_of(tmp_path)
        assert page.count("an attention sink.") == 1
        assert '<p class="note">HETA: The first token has' in page

    @pytest.mark.parametrize("command", [("explain",), ("compare", "--methods", "heta")])
    def test_are_told_where_a_file_goes_to_standard_output(self, command):
        result = CliRunner().invoke(app, [command[0], PROMPT, *command[1:], "--json", "-"])
        assert json.loads(result.stdout)["prompt"] == PROMPT
        assert result.stderr.strip() == self.SAID
        assert CliRunner().invoke(app, [command[0], PROMPT, *command[1:], "--json", "-", "--quiet"]).stderr == ""

    def test_of_a_comparison_are_sentences_too(self):
        result = CliRunner().invoke(app, ["compare", PROMPT, "--methods", "heta,normxlogit"])
        assert result.stderr == ""
        assert " ".join(result.stdout.split()).count(self.SAID) == 1
        assert "UserWarning" not in result.stdout


def test_a_second_method_that_fails_takes_nothing_from_the_first(monkeypatch, tmp_path):
    def fail(*_):
        raise RuntimeError("<b>no</b> attention\x1b")

    monkeypatch.setitem(sequence_terms._FLOWS, "attention", fail)
    text = shown()
    assert headings(text) == [("Targeted HETA", "ours"), ("HETA", "the paper's")]
    assert text.rstrip().endswith("RuntimeError: <b>no</b> attention␛")
    page = page_of(tmp_path)
    assert 'role="alert">RuntimeError: &lt;b&gt;no&lt;/b&gt; attention' in page
    result = run(PROMPT, "--method", "heta")
    assert result.exit_code == 1
    assert "Error: <b>no</b> attention" in result.stderr


def test_an_interruption_of_the_second_method_keeps_the_first(monkeypatch, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setitem(sequence_terms._FLOWS, "attention", stop)
    file = tmp_path / "a.json"
    result = run(PROMPT, "--json", str(file))
    assert result.exit_code == 130
    assert "Highest scores" in result.stdout
    assert result.stdout.rstrip().endswith("KeyboardInterrupt: interrupted")
    assert LLMTokenAttributionResult.load(file).method == "TargetedHETA"


def test_what_warnings_say_goes_where_it_is_wanted():
    said = []
    with warnings.catch_warnings(record=True) as others:
        warnings.simplefilter("always")
        with warnings_to(said.append):
            for _ in range(2):
                warnings.warn("for people", stacklevel=1)
            warnings.warn("for programmers", DeprecationWarning, stacklevel=1)
        warnings.warn("as before", stacklevel=1)
    assert said == ["for people"] * 2
    assert [str(one.message) for one in others] == ["for programmers", "as before"]


def test_a_warning_of_many_examples_is_said_once():
    said = []
    with warnings_to(once(said.append)):
        for text in ("a sink", "a sink", "another", "a sink"):
            warnings.warn(text, stacklevel=1)
    assert said == ["a sink", "another"]
