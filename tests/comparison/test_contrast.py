"""A target that is compared with another output: what is explained, by which methods, and what is refused."""

import re

import pytest
import torch
from captum.attr import FeatureAblation

from captum_heta import HETA, LLMTokenAttribution, TargetedHETA, TextInput, compare
from captum_heta.attr import NormXLogit
from captum_heta.comparison import Comparison

PROMPT = "Anna lives in Rome. Ben lives in Oslo.\nQuestion: Where does Ben live?\nAnswer:"
NAMES = ["targeted", "gradient_norm", "gxa"]


@pytest.fixture(scope="module")
def found(model, tokenizer):
    return compare(NAMES, tokenizer, PROMPT, "Oslo", contrast="Rome", model=model)


def test_methods_with_the_option_explain_the_difference_and_others_the_target(found, model, tokenizer):
    assert not found.failures
    assert (found.target, found.contrast) == (" Oslo", " Rome")
    inp = TextInput(PROMPT, tokenizer)
    alone = LLMTokenAttribution(TargetedHETA(model), tokenizer).attribute(inp, " Oslo", contrast=" Rome")
    torch.testing.assert_close(found.results["Targeted HETA"].seq_attr, alone.seq_attr)
    plain = compare(NAMES, tokenizer, PROMPT, "Oslo", model=model)
    assert plain.contrast is None
    same = [
        torch.equal(found.results[name].seq_attr, result.seq_attr) for name, result in plain.results.items()
    ]  # as the second explains another thing, and the third the same
    assert same == [False, False, True]
    contrasts = [getattr(result, "contrast", None) for result in found.results.values()]
    assert contrasts == [" Rome", " Rome", None]


def test_it_is_told_wherever_a_comparison_is_shown(found, tmp_path):
    question = "Why ' Oslo' (probability 0.95) and not ' Rome'?"
    html = found.to_html().replace("&#39;", "'")
    assert question in html
    notes = re.findall(r"<h2>(.*?) <small>(.*?)</small>", html)
    alone = [name for name, note in notes if "explains the target alone" in note]
    assert alone == ["Gradient x Activation"]
    found.save(tmp_path / "a.json")
    loaded = Comparison.load(tmp_path / "a.json")
    assert loaded.contrast == " Rome"
    assert loaded.to_html() == found.to_html()
    _, axes = found.plot()
    drawn = " ".join(text.get_text() for text in axes.texts)
    assert question in " ".join(drawn.split())
    assert drawn.count("explains the target alone") == 1


def test_without_one_nothing_is_said_of_it(model, tokenizer, tmp_path):
    found = compare(["gxa"], tokenizer, PROMPT, "Oslo", model=model)
    found.save(tmp_path / "a.json")
    for text in (found.to_html(), (tmp_path / "a.json").read_text()):
        assert "contrast" not in text
        assert "alone" not in text


def test_two_texts_are_cut_for_all_methods_where_they_differ(model, tokenizer):
    found = compare(NAMES, tokenizer, PROMPT, " Oslo. Ben", contrast=" Oslo? Anna", model=model)
    assert (found.target, found.contrast) == (" Oslo.", " Oslo?")
    for result in found.results.values():
        assert len(result.output_tokens) == 2


def test_an_answer_that_the_model_generates_is_compared_too(model, tokenizer):
    found = compare({"H": HETA(model)}, tokenizer, PROMPT, contrast="Rome", options={"H": {"curvature": "fisher"}})
    assert (found.target, found.contrast) == (" Oslo", " Rome")


def test_ids_are_taken_as_they_are(model, tokenizer):
    target, contrast = (torch.tensor(tokenizer.encode(text, add_special_tokens=False)) for text in (" Oslo", " Rome"))
    found = compare(["gradient_norm"], tokenizer, PROMPT, target, contrast=contrast, model=model)
    expected = compare(["gradient_norm"], tokenizer, PROMPT, " Oslo", contrast=" Rome", model=model)
    assert torch.equal(found.matrix(), expected.matrix())


@pytest.mark.parametrize(
    ("contrast", "error", "message"),
    [
        ("", ValueError, "contrast is empty: pass the output that the target is compared with, or leave it out"),
        ("Oslo", ValueError, "The contrast 'Oslo' and the target begin with the same 1 token(s)"),
        (
            [7, 8],
            ValueError,
            "contrast has 2 token ids and the target 1: each output token is compared with one in its",
        ),
        ("OF_TARGET", ValueError, "contrast is the target itself, ["),
        (7, TypeError, "text or token ids (K,), got int"),
    ],
)
def test_what_is_no_other_output_is_refused_once_for_all(contrast, error, message, model, tokenizer):
    if contrast == "OF_TARGET":
        contrast = tokenizer.encode(" Oslo", add_special_tokens=False)
    never = {"H": HETA(model), "F": lambda *_: pytest.fail("a method runs")}
    with pytest.raises(error, match=re.escape(message)):
        compare(never, tokenizer, PROMPT, "Oslo", contrast=contrast)


def test_one_that_no_method_explains_is_refused_before_the_model_runs(model, tokenizer, monkeypatch):
    monkeypatch.setattr(model, "forward", lambda *_, **__: pytest.fail("the model runs"))
    methods = {"N": NormXLogit(model), "A": FeatureAblation(model), "F": lambda *_: [1.0]}
    message = (
        "None of the methods N, A, F explains a difference of two outputs: add one of heta, targeted, gradient_norm"
    )
    with pytest.raises(ValueError, match=message):
        compare(methods, tokenizer, PROMPT, "Oslo", contrast="Rome")


def test_one_of_a_single_method_is_refused(model, tokenizer):
    options = {"heta": {"contrast": "Rome"}}
    with pytest.raises(ValueError, match=r"options have a contrast for 'HETA' alone: pass it to compare as contrast="):
        compare(["heta", "gxa"], tokenizer, PROMPT, "Oslo", model=model, options=options)
    # of somebody's function it is an option as any other
    own = {"F": lambda prompt, target, contrast: [contrast] * 21}
    assert compare(own, tokenizer, PROMPT, "Oslo", options={"F": {"contrast": 2.0}}).matrix(
        "max"
    ).unique().tolist() == [1]
