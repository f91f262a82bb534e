import json
import re
from types import SimpleNamespace

import pytest
import torch
from captum.attr import TextTokenInput
from typer.testing import CliRunner

from captum_heta import HETA, LLMTokenAttribution
from captum_heta.cli import app
from captum_heta.cli.loading import beginning
from captum_heta.comparison import Comparison
from captum_heta.demo import chains, examples
from captum_heta.methods import METHODS

PROMPT = "Anna lives in Rome. Ben lives in Oslo.\nQuestion: Where does Ben live?\nAnswer:"


def run(*arguments):
    return CliRunner().invoke(app, ["explain", *arguments])


def test_explains_the_other_embedded_model_by_its_name():
    result = run("--model", "captum_heta.demo.gpt_neox", "--method", "targeted", "--json", "-")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["provenance"]["model"].startswith("captum_heta.demo.gpt_neox")
    refused = run("--model", "captum_heta.demo.gpt_neox", "--dtype", "bfloat16")
    assert refused.exit_code == 1


def test_explains_a_question_that_the_named_model_answers():
    result = run("--model", "captum_heta.demo.chain", "--method", "targeted", "--json", "-")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    item = next(chains(1))
    assert report["prompt"] == item.prompt
    assert report["target"] == item.reasoning + item.answer
    assert len(report["output_probs"]) == 3
    assert min(report["output_probs"]) > 0.5


def test_explains_the_embedded_model_without_any_argument():
    result = run()
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    item = next(examples(1))
    assert f"Why '{item.target}'" in result.output.replace("\n", " ") or f"Why '{item.target.strip()}'" in result.output
    for name in ("token", "score", "contribution", "flow", "curvature", "target", "information"):
        assert name in result.output


def test_json_has_the_scores_of_the_library(demo, tmp_path):
    model, tokenizer = demo
    file = tmp_path / "scores.json"
    result = run(PROMPT, "--target", "Oslo", "--method", "heta", "--curvature", "fisher", "--json", str(file))
    assert result.exit_code == 0, result.output
    report = json.loads(file.read_text())
    inp = TextTokenInput(PROMPT, tokenizer, skip_tokens=["<s>", "</s>"])
    expected = LLMTokenAttribution(HETA(model), tokenizer).attribute(inp, " Oslo", curvature="fisher")
    torch.testing.assert_close(torch.tensor(report["token_attr"]), expected.token_attr)
    torch.testing.assert_close(torch.tensor(report["terms"]["information"]), expected.terms.information)
    assert report["input_tokens"] == expected.input_tokens
    assert report["output_tokens"] == expected.output_tokens
    assert report["provenance"]["model"] == "captum_heta.demo"
    assert report["provenance"]["curvature"] == "fisher"
    # each place is the text of its token
    assert [PROMPT[start:end] for ((start, end),) in report["places"]][:4] == ["Anna", " lives", " in", " Rome"]


def test_target_is_the_models_own_without_one(tmp_path):
    file = tmp_path / "scores.json"
    assert run(PROMPT, "--curvature", "fisher", "--json", str(file)).exit_code == 0
    assert json.loads(file.read_text())["target"].strip() == "Oslo"


def test_a_prompt_with_brackets_is_shown_as_it_is():
    result = run("[bold]Ben[/bold] lives in", "--target", "[/bold]", "--curvature", "fisher")
    assert result.exit_code == 0, result.output
    assert "[bold]Ben[/bold] lives in" in result.output


@pytest.fixture(scope="module")
def folder(demo, tmp_path_factory):
    """A model of one's own, as saved by transformers."""
    path = tmp_path_factory.mktemp("model")
    for part in demo:
        part.save_pretrained(path)
    return path


def test_a_model_of_ones_own(folder, tmp_path):
    file = tmp_path / "scores.json"
    arguments = ("--model", str(folder), "--dtype", "bfloat16", "--curvature", "fisher", "--json", str(file))
    result = run(PROMPT, *arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(file.read_text())["provenance"]["model"] == str(folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("<s>",), "The prompt has nothing to attribute the output to"),
        ((PROMPT, "--model", "no/such/folder"), "no/such/folder"),
    ],
)
def test_errors_are_one_message_and_no_traceback(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 1
    text = " ".join(result.output.split())
    assert f"Error: {message}" in text or message in text
    assert "Traceback" not in text


def test_debug_shows_the_traceback_without_control_characters():
    result = run(PROMPT, "--curvature", "new\x1b[31mton", "--debug")
    assert result.exit_code == 1
    assert "Traceback" in result.output
    assert "Error: curvature must be one of" in result.output
    assert "\x1b[31m" not in result.output


def test_help_names_the_commands():
    result = CliRunner().invoke(app, ["--help"])
    assert "explain" in result.output
    assert "compare" in result.output


class TestCompare:
    def run(self, *arguments):
        return CliRunner().invoke(app, ["compare", *arguments])

    def test_shades_the_prompt_once_a_method(self, tmp_path):
        html, saved = tmp_path / "page.html", tmp_path / "scores.json"
        result = self.run(
            PROMPT, "--methods", "normxlogit, ablation,rollout", "--html", str(html), "--json", str(saved)
        )
        assert result.exit_code == 0, result.output
        for name in ("NormXLogit", "Feature Ablation", "Attention Rollout", "Spearman", "page.html", "scores.json"):
            assert name in result.output
        # not a terminal: the prompt once, and the scores of each method in numbers
        assert result.output.count("Where does Ben live?") == 1
        assert len(re.findall(r"^ *[\d.e-]+ +\u2423Oslo *$", result.output, re.MULTILINE)) == 3
        found = Comparison.load(saved)
        assert found.names == ["NormXLogit", "Feature Ablation", "Attention Rollout"]
        assert found.target == " Oslo"
        assert html.read_text() == found.to_html()

    def test_an_example_of_the_embedded_model_without_a_prompt(self):
        result = self.run("--methods", "normxlogit")
        assert result.exit_code == 0, result.output
        assert next(examples(1)).prompt.split(".")[0] in " ".join(result.output.split())

    def test_methods_without_any_choice(self, tmp_path):
        file = tmp_path / "a.json"
        assert self.run("Ben lives in Oslo. Ben lives in", "--json", str(file)).exit_code == 0
        assert Comparison.load(file).names == ["Targeted HETA", "HETA", "Integrated Gradients", "Feature Ablation"]

    def test_a_contrast_goes_to_the_methods_that_have_it(self, tmp_path):
        html, file = tmp_path / "a.html", tmp_path / "a.json"
        arguments = ("--methods", "targeted,gxa", "--contrast", "Rome", "--html", str(html), "--json", str(file))
        result = self.run(PROMPT, *arguments)
        assert result.exit_code == 0, result.output
        assert "Why ' Oslo' (probability 0.95) and not ' Rome'?" in result.stdout
        heads = [line for line in result.stdout.splitlines() if " s, largest" in line]
        assert [("explains the target alone" in line) for line in heads] == [False, True]
        found = Comparison.load(file)
        assert found.contrast == " Rome"
        assert html.read_text() == found.to_html()

    def test_a_method_that_fails_is_told(self, monkeypatch):
        monkeypatch.setitem(METHODS, "broken", SimpleNamespace(title="Broken", make=lambda *_: lambda *_: [1.0]))
        result = self.run(PROMPT, "--methods", "broken,normxlogit")
        assert result.exit_code == 0
        assert "Broken" in result.output
        assert "ValueError: expected a score for each" in result.output
        assert self.run(PROMPT, "--methods", "broken").exit_code == 1

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--bos", "--methods", "normxlogit"), "--bos: the tokenizer puts '<s>' before prompts itself"),
        ],
    )
    def test_errors_are_one_message_and_no_traceback(self, arguments, message):
        result = self.run(PROMPT, *arguments)
        assert result.exit_code == 1
        assert message in " ".join(result.output.split())
        assert "Traceback" not in result.output


def test_bos_goes_before_the_prompt_where_the_tokenizer_leaves_it_out():
    tokenizer = SimpleNamespace(bos_token="<s>", bos_token_id=0, encode=lambda text: [5])
    assert beginning(tokenizer, True) == "<s>"
    assert beginning(tokenizer, False) == ""
    tokenizer.bos_token = None
    with pytest.raises(ValueError, match="the tokenizer has no beginning-of-text token"):
        beginning(tokenizer, True)
