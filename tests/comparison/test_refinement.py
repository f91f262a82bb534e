"""Coarse to fine in a comparison: which methods look at parts first, what is said of it, and what is refused."""

import re

import pytest
import torch
from captum.attr import FeatureAblation, TextTemplateInput
from rich.console import Console

from captum_heta import HETA, LLMTokenAttribution, TargetedHETA, TextInput, compare
from captum_heta.attr import ContextCite, NormXLogit
from captum_heta.comparison import Comparison
from captum_heta.comparison.refinement import check_refining, refining
from captum_heta.comparison.terminal import show_comparison
from captum_heta.methods import METHODS

# the end of a prompt is looked into whatever it scores, so that this one needs other sentences before it
PROMPT = (
    "Anna lives in Rome. Ben lives in Oslo. Walter saw the key in the hallway. Simon learned to play the cello. "
    "George earns a living as a doctor. Irene is very good at swimming. George is very good at hockey. Henry lives in "
    "Paris. Nina learned to play the organ. Oscar is very good at running.\nQuestion: Where does Ben live?\nAnswer:"
)
NAMES = ["targeted", "normxlogit", "gxa", "contextcite"]
LOOKED = re.compile(r"looked into (\d+) of 12 sentences for 0.5 of the score")


@pytest.fixture(scope="module")
def found(model, tokenizer):
    return compare(NAMES, tokenizer, PROMPT, "Oslo", refine=0.5, model=model)


def refined(result):
    return getattr(result, "provenance", {}).get("refined", "in full")


def test_methods_of_tokens_look_at_parts_first_and_others_run_in_full(found, model, tokenizer):
    assert not found.failures
    plain = compare(NAMES, tokenizer, PROMPT, "Oslo", model=model)
    inp = TextInput(PROMPT, tokenizer)
    for title, method in (("Targeted HETA", TargetedHETA(model)), ("NormXLogit", NormXLogit(model))):
        alone = LLMTokenAttribution(method, tokenizer).attribute(inp, " Oslo", refine=0.5)
        assert refined(found.results[title]) == refined(alone)
        assert re.fullmatch(r"([1-9]|10|11) of 12 sentences", refined(alone))
        torch.testing.assert_close(found.results[title].seq_attr, alone.seq_attr)
        assert not torch.allclose(plain.results[title].seq_attr, alone.seq_attr)
    for title in ("Gradient x Activation", "ContextCite"):
        assert refined(found.results[title]) == "in full"
        assert torch.equal(found.results[title].seq_attr, plain.results[title].seq_attr)
    assert found.provenance["refine"] == 0.5
    assert "refine" not in plain.provenance


def test_it_is_told_wherever_a_comparison_is_shown(found, tmp_path):
    html = found.to_html()
    notes = dict(re.findall(r"<h2>(.*?) <small>(.*?)</small>", html))
    assert [bool(LOOKED.search(note)) for note in notes.values()] == [True, True, False, False]
    assert [note.endswith(", in full") for note in notes.values()] == [False, False, True, True]
    assert html.count("Coarse to fine: larger parts of the prompt were looked at first") == 1
    assert "; refine: 0.5" in html
    found.save(tmp_path / "a.json")
    loaded = Comparison.load(tmp_path / "a.json")
    assert loaded.to_html() == html
    assert [refined(result) for result in loaded.results.values()] == [refined(each) for each in found.results.values()]
    _, axes = found.plot()
    drawn = " ".join(text.get_text() for text in axes.texts)
    assert len(LOOKED.findall(drawn)) == drawn.count("in full") == 2


def test_in_a_terminal_too(found):
    console = Console(width=200, no_color=True)
    with console.capture() as capture:
        show_comparison(found, console, notes=["This is said too."])
    lines = capture.get().splitlines()
    assert lines[1].startswith("Coarse to fine: larger parts")
    assert lines[2] == "This is said too."
    heads = [line for line in lines if " s, largest" in line]
    assert [bool(LOOKED.search(head)) for head in heads] == [True, True, False, False]


def test_without_it_nothing_is_said_of_it(model, tokenizer, tmp_path):
    found = compare(["targeted", "gxa"], tokenizer, PROMPT, "Oslo", model=model)
    found.save(tmp_path / "a.json")
    for text in (found.to_html(), (tmp_path / "a.json").read_text()):
        assert "refine" not in text
        assert "Coarse" not in text
        assert "in full" not in text


def test_of_one_method_it_is_an_option(model, tokenizer):
    def shares(**chosen):
        found = compare(["targeted", "normxlogit"], tokenizer, PROMPT, "Oslo", model=model, **chosen)
        return [result.provenance["options"].get("refine") for result in found.results.values()]

    assert shares(options={"targeted": {"refine": 0.9}}) == [0.9, None]
    # and stands for that of all
    assert shares(refine=0.5, options={"targeted": {"refine": 0.9}}) == [0.9, 0.5]
    assert shares(refine=0.5, options={"targeted": {"refine": None}}) == [None, 0.5]


def test_features_of_ones_own_stay(model, tokenizer):
    count = TextInput(PROMPT, tokenizer).n_itp_features
    mask = torch.arange(count) // 3
    methods = {"mine": NormXLogit(model), "all": NormXLogit(model), "tokens": ContextCite(model, sources="token")}
    found = compare(methods, tokenizer, PROMPT, "Oslo", refine=0.5, options={"mine": {"feature_mask": mask}})
    assert not found.failures
    assert [refined(result) == "in full" for result in found.results.values()] == [True, False, False]
    assert found.results["mine"].seq_attr[:3].unique().numel() == 1


def test_a_prompt_without_parts_is_looked_at_in_full(model, tokenizer):
    template = TextTemplateInput("{} lives in {}. Ben lives in", ["Ben", "Oslo"])
    for inp in ("Ben lives in", template):
        found = compare(["normxlogit", "gxa"][: 1 + isinstance(inp, str)], tokenizer, inp, refine=0.9, model=model)
        plain = compare(["normxlogit"], tokenizer, inp, model=model)
        assert found.results["NormXLogit"].provenance["refined"] is None
        assert torch.equal(found.results["NormXLogit"].seq_attr, plain.results["NormXLogit"].seq_attr)
        assert found.to_html().count("in full") == 1
        assert "in full, as the prompt has no larger parts" in found.to_html()
        assert "Coarse" not in found.to_html()


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"refine": 0}, "refine is a part of the score and must be in (0, 1], got 0."),
        ({"refine": 1.5}, "refine is a part of the score and must be in (0, 1], got 1.5."),
        ({"refine": float("nan")}, "refine is a part of the score and must be in (0, 1], got nan."),
        ({"refine": True}, "refine must be a number, got True."),
        ({"options": {"H": {"refine": 2}}}, "refine of 'H' is a part of the score and must be in (0, 1], got 2."),
        (
            {"options": {"C": {"refine": 0.9}}},
            "'C' has features of its own, sentences: leave refine out of its options",
        ),
        (
            {"options": {"H": {"refine": 0.9, "feature_mask": torch.zeros(3)}}},
            "'H' has features of its own, feature_mask: leave refine out of its options",
        ),
    ],
)
def test_what_is_no_share_is_refused_before_anything_runs(chosen, message, model, tokenizer, monkeypatch):
    monkeypatch.setattr(model, "forward", lambda *_, **__: pytest.fail("the model runs"))
    methods = {"H": HETA(model), "C": ContextCite(model), "F": lambda *_: pytest.fail("a method runs")}
    with pytest.raises(ValueError, match=re.escape(message)):
        compare(methods, tokenizer, PROMPT, "Oslo", **chosen)


def test_where_no_method_does_so_it_is_refused(model, tokenizer, monkeypatch):
    monkeypatch.setattr(model, "forward", lambda *_, **__: pytest.fail("the model runs"))
    methods = {"C": ContextCite(model), "A": FeatureAblation(model), "F": lambda *_: [1.0]}
    message = r"None of the methods C, A, F looks at parts of the prompt first: add one of heta, targeted, .*, or leave"
    with pytest.raises(ValueError, match=message):
        compare(methods, tokenizer, PROMPT, "Oslo", refine=0.9)
    with pytest.raises(ValueError, match="None of the methods ig, contextcite looks at parts of the prompt first"):
        check_refining(["ig", "contextcite"])
    check_refining(["ig", "normxlogit"])


def test_of_somebodys_function_it_is_an_option_as_any_other(tokenizer):
    def mine(prompt, target, refine):
        return [refine] * TextInput(prompt, tokenizer).n_itp_features

    found = compare({"F": mine}, tokenizer, PROMPT, "Oslo", options={"F": {"refine": 7.0}})
    assert found.matrix("none").unique().tolist() == [7]


def test_all_methods_of_this_package_do_so_but_those_of_sentences():
    ours = [name for name, method in METHODS.items() if method.module.startswith("captum_heta.")]
    assert refining() == [name for name in ours if name != "contextcite"]
