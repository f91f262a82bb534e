"""Coarse to fine: what a person asks for, what is done with long prompts without being asked, and what is said."""

import json
import re

import pytest
import torch
from typer.testing import CliRunner

from captum_heta import Comparison, LLMTokenAttribution, LLMTokenAttributionResult, TargetedHETA, TextInput
from captum_heta.app import long_prompts
from captum_heta.cli import app
from captum_heta.cli.explanation import Explanation

FACTS = (
    "Anna lives in Rome. Ben lives in Oslo. Walter saw the key in the hallway. Simon learned to play the cello. "
    "George earns a living as a doctor. Irene is very good at swimming. George is very good at hockey. Henry lives in "
    "Paris. Nina learned to play the organ. Oscar is very good at running. "
)
QUESTION = "\nQuestion: Where does Ben live?\nAnswer:"
PROMPT = FACTS.strip() + QUESTION
HINT = "; --no-refine looks at every token"
LOOKED = re.compile(rf"Looked into (\d+) of 12 sentences for ([\d.]+) of the score({HINT})?\.")
QUICK = ("--method", "targeted", "--target", "Oslo")


@pytest.fixture
def _short(monkeypatch):
    """A prompt is long from this one's length on."""
    monkeypatch.setattr(long_prompts, "MOST", 60)


def run(*arguments):
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result


def said(*arguments):
    """What is in the terminal, on one line."""
    return " ".join(run(*arguments).stdout.split())


def test_the_share_that_a_person_asks_for_is_the_librarys(demo, tmp_path):
    file = tmp_path / "a.json"
    found = LOOKED.search(said("explain", PROMPT, *QUICK, "--refine", "0.5", "--json", str(file)))
    expected = LLMTokenAttribution(TargetedHETA(demo[0]), demo[1]).attribute(
        TextInput(PROMPT, demo[1]), "Oslo", refine=0.5
    )
    assert found.group(2, 3) == ("0.5", None)
    assert expected.provenance["refined"] == f"{found[1]} of 12 sentences"
    loaded = LLMTokenAttributionResult.load(file)
    torch.testing.assert_close(loaded.seq_attr, expected.seq_attr)
    assert loaded.provenance["refined"] == expected.provenance["refined"]
    assert loaded.provenance["options"]["refine"] == 0.5


@pytest.mark.usefixtures("_short")
def test_a_long_prompt_is_looked_at_so_without_being_asked(tmp_path):
    file = tmp_path / "a.html"
    text = said("explain", PROMPT, "--target", "Oslo", "--html", str(file))
    both = LOOKED.findall(text)  # Targeted HETA and HETA
    assert [(share, hint) for _, share, hint in both] == [("0.9", HINT)] * 2
    page = file.read_text()
    assert page.count("Coarse to fine: larger parts of the prompt were looked at first") == 1
    heads = re.findall(r"<h2>.*? <small>(.*?)</small>", page)
    assert [re.search(r"; looked into (\d+) of 12 sentences for 0.9 of the score;", head)[1] for head in heads] == [
        count for count, *_ in both
    ]


@pytest.mark.usefixtures("_short")
@pytest.mark.parametrize("arguments", [("Ben lives in Oslo. Ben lives in",), (PROMPT, "--no-refine")])
def test_a_short_one_is_not_nor_where_a_person_wants_every_token(arguments, tmp_path):
    file = tmp_path / "a.json"
    assert not LOOKED.search(said("explain", *arguments, *QUICK, "--json", str(file)))
    assert "refined" not in LLMTokenAttributionResult.load(file).provenance


def test_every_token_of_three_hundred_is_looked_at(tmp_path, monkeypatch):
    assert long_prompts.MOST == 300
    monkeypatch.setattr(long_prompts, "MOST", 30)  # the same with a tenth, which is cheaper
    file = tmp_path / "a.json"
    for count, refined in ((30, False), (31, True)):
        prompt = ("Ben lives in Oslo." * 6).replace(".B", ". B") + " Ben"[: 4 * (count - 30)]
        run("explain", prompt, *QUICK, "--json", str(file))
        found = LLMTokenAttributionResult.load(file)
        assert len(found.seq_attr) == count
        assert ("refined" in found.provenance) == refined


@pytest.mark.usefixtures("_short")
def test_it_is_told_where_a_file_goes_to_standard_output():
    result = run("explain", PROMPT, *QUICK, "--json", "-")
    assert json.loads(result.stdout)["prompt"] == PROMPT
    assert LOOKED.fullmatch(" ".join(result.stderr.split()))
    assert run("explain", PROMPT, *QUICK, "--json", "-", "--quiet").stderr == ""
    result = run("compare", PROMPT, "--methods", "targeted", "--json", "-")
    assert json.loads(result.stdout)["provenance"]["refine"] == 0.9
    assert "--no-refine looks at every token" in result.stderr


def test_a_prompt_of_one_sentence_has_no_parts(monkeypatch):
    monkeypatch.setattr(long_prompts, "MOST", 2)
    text = said("explain", "Ben lives in", *QUICK)
    assert "In full, as the prompt has no larger parts. 3 tokens, curvature fisher" in text
    assert "--no-refine" not in text


class TestCompare:
    METHODS = ("--target", "Oslo", "--methods", "targeted,gxa,contextcite")

    def heads(self, text):
        """What is said beside the methods, in their order."""
        return re.findall(
            r" s, largest [\d.]+, (in full|looked into \d+ of 12 sentences for [\d.]+ of the score)", text
        )

    def test_takes_a_share(self, tmp_path):
        file = tmp_path / "a.json"
        text = said("compare", PROMPT, *self.METHODS, "--refine", "0.5", "--json", str(file))
        targeted, *others = self.heads(text)
        assert targeted.endswith("for 0.5 of the score")
        assert others == ["in full"] * 2
        assert "Coarse to fine: larger parts of the prompt" in text
        assert "--no-refine" not in text
        assert Comparison.load(file).provenance["refine"] == 0.5

    @pytest.mark.usefixtures("_short")
    def test_does_so_with_long_prompts_and_says_so(self):
        text = said("compare", PROMPT, *self.METHODS)
        assert self.heads(text)[0].endswith("for 0.9 of the score")
        assert text.count("tokens; --no-refine looks at every token.") == 1

    @pytest.mark.usefixtures("_short")
    def test_but_not_against_a_persons_will_or_without_a_method_that_can(self):
        for chosen in ((*self.METHODS, "--no-refine"), ("--methods", "gxa,contextcite")):
            text = said("compare", PROMPT, *chosen)
            assert not self.heads(text)
            assert "Coarse" not in text
            assert "--no-refine" not in text


@pytest.mark.parametrize(
    ("about", "effort"),
    [
        (
            {"curvature": "fisher", "products": 3, "passes": 12, "skipped": 45},
            "2 tokens, curvature fisher (3 gradients), 12 masked passes (45 skipped), 0.11 s",
        ),
        (
            {"curvature": "gradient", "products": 1, "passes": 1, "skipped": 0},
            "2 tokens, curvature gradient (1 gradient), 1 masked pass, 0.11 s",
        ),
        (
            {"curvature": "exact", "products": 1200, "passes": 57},
            "2 tokens, curvature exact (1,200 products), 57 masked passes, 0.11 s",
        ),
    ],
)
def test_what_scores_have_cost_is_on_one_line(about, effort):
    result = LLMTokenAttributionResult(
        seq_attr=torch.zeros(2), input_tokens=["a", "b"], output_tokens=["c"], provenance=about | {"seconds": 0.114}
    )
    assert Explanation("T", "", result).effort == effort
    assert Explanation("T", "", result).refined == []


@pytest.mark.parametrize("command", ["explain", "compare"])
def test_help_says_when(command):
    text = re.sub(r"[\s\u2502]+", " ", run(command, "--help").stdout)
    assert "If left out, 0.9 for prompts of more than 300 tokens." in text
    assert "Look at every token, however long the prompt is." in text
