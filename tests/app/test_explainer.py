import re

import pytest
import torch
from captum.attr import TextTokenInput
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_heta import HETA, compare
from captum_heta.app.explainer import MOST_OUTPUTS, OWN, Choices, Explainer, output_of
from captum_heta.demo import load_model
from captum_heta.inputs import TextInput
from captum_heta.options import CURVATURE_MODES

PROMPT = "Anna lives in Rome. Ben lives in Oslo.\nQuestion: Where does Ben live?\nAnswer:"
TOKENIZER = load_model()[1]


@given(st.text(st.sampled_from("ab \n🎉א中.<"), max_size=20))
def test_input_of_ids_is_captums_of_the_text(text):
    theirs = TextTokenInput(text, TOKENIZER, skip_tokens=list(TOKENIZER.all_special_ids))
    ours = TextInput(TOKENIZER.encode(text), TOKENIZER)
    assert set(vars(theirs)) <= set(vars(ours))
    for name, value in vars(theirs).items():
        mine = getattr(ours, name)
        assert torch.equal(mine, value) if isinstance(value, torch.Tensor) else mine == value, name


def test_choices_are_the_models(demo, explainer):
    model, tokenizer = demo
    found = explainer.choices(PROMPT, likeliest=3, longest=5)
    ids = tokenizer.encode(PROMPT)
    assert found.ids == tuple(ids)
    probabilities = model(torch.tensor([ids])).logits[0, -1].softmax(-1)
    assert [token for token, _ in found.likeliest] == probabilities.argsort(descending=True)[:3].tolist()
    for token, probability in found.likeliest:
        assert probability == pytest.approx(probabilities[token].item(), rel=1e-4)
    # each token of the continuation is the likeliest after those before it
    assert tokenizer.decode(found.continuation[:1]) == " Oslo"
    for step, token in enumerate(found.continuation):
        assert model(torch.tensor([ids + list(found.continuation[:step])])).logits[0, -1].argmax() == token
    assert 1 < len(found.continuation) <= 5
    assert len(explainer.choices(PROMPT, longest=2).continuation) == 2


def test_choices_leave_the_draws_of_others_alone(explainer):
    before = torch.get_rng_state()
    explainer.choices(PROMPT)
    assert torch.equal(before, torch.get_rng_state())


def test_continuation_fits_the_models_positions(demo):
    model, tokenizer = demo
    whole = Explainer(model, tokenizer, max_tokens=1000)
    positions = model.config.max_position_embeddings
    ids = whole.ids_of("a " * 150)
    word = (positions - 1 - len(ids)) * " Anna"
    prompt = "a " * 150 + word.strip()
    count = len(whole.ids_of(prompt))
    assert positions - 5 < count < positions
    assert 1 <= len(whole.choices(prompt).continuation) <= positions - count
    with pytest.raises(ValueError, match=f"and the model has {positions} positions for it and its output: shorten it"):
        whole.ids_of(prompt + " Anna" * 6)


def test_a_prompt_over_the_limit_is_told_with_its_length(demo):
    model, tokenizer = demo
    count = len(tokenizer.encode(PROMPT))
    assert Explainer(model, tokenizer, max_tokens=count).ids_of(PROMPT)
    message = f"The prompt has {count} tokens, and this page takes {count - 1}: shorten it, or start the page with"
    with pytest.raises(ValueError, match=f"{message} --max-tokens {count}."):
        Explainer(model, tokenizer, max_tokens=count - 1).choices(PROMPT)


@pytest.mark.parametrize("prompt", ["", " \n\t"])
def test_an_empty_prompt_is_told(explainer, prompt):
    for ask in (explainer.choices, lambda text: explainer.typed(text, "Oslo")):
        with pytest.raises(ValueError, match="The prompt is empty: write the text"):
            ask(prompt)


def test_a_limit_below_one_is_an_error(demo):
    with pytest.raises(ValueError, match="max_tokens must be at least 1, got 0"):
        Explainer(*demo, max_tokens=0)


def test_typed_target_takes_its_space(demo, explainer):
    ids, outputs = explainer.typed(PROMPT, "Oslo")
    assert demo[1].decode(outputs) == " Oslo"
    assert ids == explainer.ids_of(PROMPT)
    assert explainer.typed(PROMPT, None)[1].tolist() == [explainer.choices(PROMPT).likeliest[0][0]]
    with pytest.raises(ValueError, match="The target '' encodes to no token"):
        explainer.typed(PROMPT, "")


def test_a_text_that_is_far_too_long_is_told_without_cutting_it_into_tokens(demo, monkeypatch):
    model, tokenizer = demo
    short = Explainer(model, tokenizer, max_tokens=20)
    ids, _ = short.typed("Anna lives in", "Rome")

    def refuse(*_, **__):
        raise AssertionError("tokens were asked for")

    monkeypatch.setattr(type(tokenizer), "encode", refuse)
    with pytest.raises(ValueError, match="The prompt has 2,001 characters, and this page takes 20 tokens of one: sho"):
        short.choices("a" * 2001)
    monkeypatch.setattr(short, "ids_of", lambda prompt: ids)
    with pytest.raises(ValueError, match="The output has 9,999,999 characters, and this page takes 20 tokens of one"):
        short.typed("Anna lives in", "a" * 9_999_999)


@pytest.mark.parametrize(("most", "taken"), [(7, 7), (100, MOST_OUTPUTS)])
def test_outputs_that_are_too_long_are_told_before_the_model_runs(demo, monkeypatch, most, taken):
    def refuse(*_):
        raise AssertionError("the model was asked")

    model, tokenizer = demo
    word = " Rome"
    assert len(tokenizer.encode(word, add_special_tokens=False)) == 1
    _, outputs = Explainer(model, tokenizer, most).typed("Anna", taken * word)
    assert len(outputs) == taken
    asked = Explainer(model, tokenizer, most)
    monkeypatch.setattr("captum_heta.app.explainer.target_ids", refuse)
    with pytest.raises(ValueError, match=f"The output has {taken + 1} tokens, and this page takes {taken} of one: sho"):
        asked.typed("Anna", (taken + 1) * word)


def test_prompt_and_output_fit_the_models_positions(demo):
    model, tokenizer = demo
    whole = Explainer(model, tokenizer, max_tokens=1000)
    positions = model.config.max_position_embeddings
    prompt = "Anna" + " Anna" * (positions - 6)
    count = len(whole.ids_of(prompt))
    room = positions - count
    assert 1 < room < 20
    ids, outputs = whole.typed(prompt, room * " Rome")
    assert len(ids) + len(outputs) == positions
    message = f"The prompt has {count} tokens and the output {room + 1}, and the model has {positions} positions for b"
    with pytest.raises(ValueError, match=message):
        whole.typed(prompt, (room + 1) * " Rome")


def test_half_a_character_is_told(explainer):
    with pytest.raises(ValueError, match=r"The prompt has half a character, '\\ud800' at 5: write it anew"):
        explainer.choices("Anna \ud800")
    with pytest.raises(ValueError, match=r"The output has half a character, '\\udfff' at 0"):
        explainer.typed("Anna", "\udfff")


def test_explains_as_compare_does(demo, explainer):
    model, tokenizer = demo
    ids, outputs = explainer.typed(PROMPT, "Oslo")
    scores = []
    for curvature in (OWN, *CURVATURE_MODES):
        found = explainer.explain(ids, outputs, ["heta", "normxlogit"], curvature)
        options = {"HETA": {"curvature": curvature}} if curvature != OWN else {}
        expected = compare({"HETA": HETA(model)}, tokenizer, PROMPT, outputs, options=options)
        assert found.names == ["HETA", "NormXLogit"]
        assert found.prompt == PROMPT
        torch.testing.assert_close(found.results["HETA"].terms.curvature, expected.results["HETA"].terms.curvature)
        scores.append(found.results["HETA"].terms.curvature)
    # the option does something
    assert not torch.allclose(scores[2], scores[4])
    assert torch.equal(scores[0], scores[1])  # HETA's own is "auto"
    assert explainer.explain(ids, outputs, ["normxlogit"], "auto").names == ["NormXLogit"]


def test_each_method_has_its_own_curvature_unless_one_is_chosen(explainer):
    ids, outputs = explainer.typed(PROMPT, "Oslo")
    for curvature, expected in ((OWN, ["fisher", "low_rank"]), ("gradient", ["gradient", "gradient"])):
        found = explainer.explain(ids, outputs, ["targeted", "heta"], curvature)
        assert found.names == ["Targeted HETA", "HETA"]
        assert [result.provenance["curvature"] for result in found.results.values()] == expected


def test_a_contrast_is_that_of_compare(demo, explainer):
    ids, outputs = explainer.typed(PROMPT, "Oslo")
    found = explainer.explain(ids, outputs, ["targeted", "gxa"], contrast="Rome")
    expected = compare(["targeted"], demo[1], PROMPT, "Oslo", contrast="Rome", model=demo[0])
    assert found.contrast == " Rome"
    torch.testing.assert_close(found.matrix()[0], expected.matrix()[0])
    assert explainer.explain(ids, outputs, ["targeted"]).contrast is None


@pytest.mark.parametrize(
    ("contrast", "methods", "message"),
    [
        ("Oslo", ["targeted"], "there is no difference to explain"),
        ("Rome", ["gxa"], "None of the methods Gradient x Activation explains a difference"),
        ("Rome " * 51, ["targeted"], "The contrast has 52 tokens, and this page takes 50 of one: shorten it"),
        ("a" * 5001, ["targeted"], "The contrast has 5,001 characters, and this page takes 50 tokens of one"),
        ("\ud800", ["targeted"], "The contrast has half a character"),
    ],
)
def test_a_contrast_that_is_none_is_told(explainer, contrast, methods, message):
    ids, outputs = explainer.typed(PROMPT, "Oslo")
    with pytest.raises(ValueError, match=re.escape(message)):
        explainer.explain(ids, outputs, methods, contrast=contrast)


def test_a_step_is_explained_after_the_tokens_before_it(demo, explainer):
    choices = explainer.choices(PROMPT)
    ids, outputs = output_of(choices, PROMPT, None, 1)
    assert ids == choices.ids + choices.continuation[:1]
    assert outputs.tolist() == [choices.continuation[1]]
    found = explainer.explain(ids, outputs, ["normxlogit"], "auto")
    assert found.prompt == PROMPT + " Oslo"
    assert found.tokens[-1] == " Oslo"


def test_tokens_that_the_text_would_not_be_cut_into_are_explained_as_they_are(demo, explainer):
    _, tokenizer = demo
    word = tokenizer.encode("a", add_special_tokens=False)[-1]
    letters = tokenizer.convert_tokens_to_ids(list("nna"))
    ids = [*tokenizer.encode("Ben likes"), word, *letters]
    assert tokenizer.encode("Ben likes anna") != ids
    found = explainer.explain(ids, torch.tensor([word]), ["normxlogit"], "auto")
    assert found.prompt.endswith("Ben likes anna")
    assert found.tokens[-4:] == ["a", "n", "n", "a"]


def test_a_next_token_is_explained_after_the_prompt(explainer):
    choices = explainer.choices(PROMPT)
    token = choices.likeliest[4][0]
    ids, outputs = output_of(choices, PROMPT, token, None)
    assert (ids, outputs.tolist()) == (choices.ids, [token])


CHOICES = Choices("a", (0, 5), ((7, 0.5), (8, 0.25)), (7, 9))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, "a", 7, None), "The prompt has changed since its next tokens were predicted: press Predict again"),
        ((CHOICES, "b", 7, None), "The prompt has changed"),
        ((CHOICES, "a", None, None), "Choose a next token or a token of the continuation, got None and None"),
        ((CHOICES, "a", 7, 0), "Choose a next token or a token of the continuation, got 7 and 0"),
        ((CHOICES, "a", 9, None), "Token 9 is none of the likeliest: choose one of them, or type it"),
        ((CHOICES, "a", None, 2), "The continuation has 2 tokens, got number 2"),
        ((CHOICES, "a", None, -1), "The continuation has 2 tokens, got number -1"),
    ],
)
def test_a_choice_that_is_none_is_an_error(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        output_of(*arguments)


@pytest.mark.parametrize(
    ("methods", "curvature", "message"),
    [
        (
            ["heta"],
            "newton",
            "curvature must be one of default, auto, exact, low_rank, gauss_newton, fisher, gradient, got 'newton'",
        ),
        (["heta", "heta"], "auto", "The methods are heta and heta: choose another one for the second"),
        (["hetta"], "auto", "There is no method 'hetta'"),
    ],
)
def test_settings_that_mean_nothing_are_errors(explainer, methods, curvature, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        explainer.explain(explainer.ids_of(PROMPT), torch.tensor([5]), methods, curvature)


@settings(max_examples=20)
@given(st.integers(0, len(TOKENIZER) - 1))
def test_labels_are_one_line_and_show_what_is_blank(token):
    label = Explainer(load_model()[0], TOKENIZER).label(token)
    assert label
    assert not any(character.isspace() for character in label)


def test_label_of_a_word(explainer):
    assert explainer.label(TOKENIZER.encode("a b", add_special_tokens=False)[-1]) == "\N{OPEN BOX}b"
