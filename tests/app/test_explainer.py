import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_heta import HETA, compare
from captum_heta.app.explainer import MOST_OUTPUTS, OWN, Choices, Explainer, output_of
from captum_heta.app.prompts import ChatPrompt, DocumentsPrompt, TextPrompt
from captum_heta.demo import load_model
from captum_heta.options import CURVATURE_MODES

TEXT = "Anna lives in Rome. Ben lives in Oslo.\nQuestion: Where does Ben live?\nAnswer:"
PROMPT = TextPrompt(TEXT)
TOKENIZER = load_model()[1]


def test_choices_are_the_models(demo, explainer):
    model, tokenizer = demo
    found = explainer.choices(PROMPT, likeliest=3, longest=5)
    ids = tokenizer.encode(TEXT)
    assert found.ids == tuple(ids)
    probabilities = model(torch.tensor([ids])).logits[0, -1].softmax(-1)
    assert [token for token, _ in found.likeliest] == probabilities.argsort(descending=True)[:3].tolist()
    for token, probability in found.likeliest:
        assert probability == pytest.approx(probabilities[token].item(), rel=1e-4)
    # each token of the answer is the likeliest after those before it
    assert tokenizer.decode(found.answer[:1]) == " Oslo"
    for step, token in enumerate(found.answer):
        assert model(torch.tensor([ids + list(found.answer[:step])])).logits[0, -1].argmax() == token
    assert 1 < len(found.answer) <= 5
    assert len(explainer.choices(PROMPT, longest=2).answer) == 2


def test_choices_leave_the_draws_of_others_alone(explainer):
    before = torch.get_rng_state()
    explainer.choices(PROMPT)
    assert torch.equal(before, torch.get_rng_state())


def test_the_answer_fits_the_models_positions(demo):
    model, tokenizer = demo
    whole = Explainer(model, tokenizer, max_tokens=1000)
    positions = model.config.max_position_embeddings
    ids = whole.located(TextPrompt("a " * 150)).ids
    word = (positions - 1 - len(ids)) * " Anna"
    prompt = "a " * 150 + word.strip()
    count = len(whole.located(TextPrompt(prompt)).ids)
    assert positions - 5 < count < positions
    assert 1 <= len(whole.choices(TextPrompt(prompt)).answer) <= positions - count
    with pytest.raises(ValueError, match=f"and the model has {positions} positions for it and its output: shorten it"):
        whole.located(TextPrompt(prompt + " Anna" * 6))


def test_a_prompt_over_the_limit_is_told_with_its_length(demo):
    model, tokenizer = demo
    count = len(tokenizer.encode(TEXT))
    assert Explainer(model, tokenizer, max_tokens=count).located(PROMPT)
    message = f"The prompt has {count} tokens, and this page takes {count - 1}: shorten it, or start the page with"
    with pytest.raises(ValueError, match=f"{message} --max-tokens {count}."):
        Explainer(model, tokenizer, max_tokens=count - 1).choices(PROMPT)


@pytest.mark.parametrize(
    "prompt", [TextPrompt(""), TextPrompt(" \n\t"), ChatPrompt(()), DocumentsPrompt((), ""), DocumentsPrompt((), " ")]
)
def test_an_empty_prompt_is_told(explainer, prompt):
    for ask in (explainer.choices, lambda given: explainer.typed(given, "Oslo")):
        with pytest.raises(ValueError, match="The prompt is empty: write the text"):
            ask(prompt)


def test_a_limit_below_one_is_an_error(demo):
    with pytest.raises(ValueError, match="max_tokens must be at least 1, got 0"):
        Explainer(*demo, max_tokens=0)


def test_typed_target_takes_its_space(demo, explainer):
    assert demo[1].decode(explainer.typed(PROMPT, "Oslo")) == " Oslo"
    assert explainer.typed(PROMPT, None).tolist() == [explainer.choices(PROMPT).likeliest[0][0]]
    with pytest.raises(ValueError, match="The target '' encodes to no token"):
        explainer.typed(PROMPT, "")


def test_a_text_that_is_far_too_long_is_told_without_cutting_it_into_tokens(demo, monkeypatch):
    model, tokenizer = demo
    short = Explainer(model, tokenizer, max_tokens=20)
    prompt = TextPrompt("Anna lives in")
    located = short.located(prompt)

    def refuse(*_, **__):
        raise AssertionError("tokens were asked for")

    monkeypatch.setattr(type(tokenizer), "encode", refuse)
    with pytest.raises(ValueError, match="The prompt has 2,001 characters, and this page takes 20 tokens of one: sho"):
        short.choices(TextPrompt("a" * 2001))
    monkeypatch.setattr(short, "located", lambda prompt: located)
    with pytest.raises(ValueError, match="The output has 9,999,999 characters, and this page takes 20 tokens of one"):
        short.typed(prompt, "a" * 9_999_999)


@pytest.mark.parametrize(("most", "taken"), [(7, 7), (100, MOST_OUTPUTS)])
def test_outputs_that_are_too_long_are_told_before_the_model_runs(demo, monkeypatch, most, taken):
    def refuse(*_):
        raise AssertionError("the model was asked")

    model, tokenizer = demo
    word = " Rome"
    assert len(tokenizer.encode(word, add_special_tokens=False)) == 1
    assert len(Explainer(model, tokenizer, most).typed(TextPrompt("Anna"), taken * word)) == taken
    asked = Explainer(model, tokenizer, most)
    monkeypatch.setattr("captum_heta.app.explainer.target_ids", refuse)
    with pytest.raises(ValueError, match=f"The output has {taken + 1} tokens, and this page takes {taken} of one: sho"):
        asked.typed(TextPrompt("Anna"), (taken + 1) * word)


def test_prompt_and_output_fit_the_models_positions(demo):
    model, tokenizer = demo
    whole = Explainer(model, tokenizer, max_tokens=1000)
    positions = model.config.max_position_embeddings
    prompt = TextPrompt("Anna" + " Anna" * (positions - 6))
    count = len(whole.located(prompt).ids)
    room = positions - count
    assert 1 < room < 20
    assert count + len(whole.typed(prompt, room * " Rome")) == positions
    message = f"The prompt has {count} tokens and the output {room + 1}, and the model has {positions} positions for b"
    with pytest.raises(ValueError, match=message):
        whole.typed(prompt, (room + 1) * " Rome")


def test_half_a_character_is_told(explainer):
    with pytest.raises(ValueError, match=r"The prompt has half a character, '\\ud800' at 5: write it anew"):
        explainer.choices(TextPrompt("Anna \ud800"))
    with pytest.raises(ValueError, match=r"The output has half a character, '\\udfff' at 0"):
        explainer.typed(TextPrompt("Anna"), "\udfff")


def test_explains_as_compare_does(demo, explainer):
    model, tokenizer = demo
    outputs = explainer.typed(PROMPT, "Oslo")
    scores = []
    for curvature in (OWN, *CURVATURE_MODES):
        found = explainer.explain(PROMPT, (), outputs, ["heta", "normxlogit"], curvature)
        options = {"HETA": {"curvature": curvature}} if curvature != OWN else {}
        expected = compare({"HETA": HETA(model)}, tokenizer, TEXT, outputs, options=options)
        assert found.names == ["HETA", "NormXLogit"]
        assert found.prompt == TEXT
        torch.testing.assert_close(found.results["HETA"].terms.curvature, expected.results["HETA"].terms.curvature)
        scores.append(found.results["HETA"].terms.curvature)
    # the option does something
    assert not torch.allclose(scores[2], scores[4])
    assert torch.equal(scores[0], scores[1])  # HETA's own is "auto"
    assert explainer.explain(PROMPT, (), outputs, ["normxlogit"], "auto").names == ["NormXLogit"]


def test_each_method_has_its_own_curvature_unless_one_is_chosen(explainer):
    outputs = explainer.typed(PROMPT, "Oslo")
    for curvature, expected in ((OWN, ["fisher", "low_rank"]), ("gradient", ["gradient", "gradient"])):
        found = explainer.explain(PROMPT, (), outputs, ["targeted", "heta"], curvature)
        assert found.names == ["Targeted HETA", "HETA"]
        assert [result.provenance["curvature"] for result in found.results.values()] == expected


def test_a_contrast_is_that_of_compare(demo, explainer):
    outputs = explainer.typed(PROMPT, "Oslo")
    found = explainer.explain(PROMPT, (), outputs, ["targeted", "gxa"], contrast="Rome")
    expected = compare(["targeted"], demo[1], TEXT, "Oslo", contrast="Rome", model=demo[0])
    assert found.contrast == " Rome"
    torch.testing.assert_close(found.matrix()[0], expected.matrix()[0])
    assert explainer.explain(PROMPT, (), outputs, ["targeted"]).contrast is None


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
    outputs = explainer.typed(PROMPT, "Oslo")
    with pytest.raises(ValueError, match=re.escape(message)):
        explainer.explain(PROMPT, (), outputs, methods, contrast=contrast)


def test_a_step_is_explained_after_the_tokens_before_it(demo, explainer):
    choices = explainer.choices(PROMPT)
    before, outputs = output_of(choices, PROMPT, None, 1)
    assert before == choices.answer[:1]
    assert outputs.tolist() == [choices.answer[1]]
    found = explainer.explain(PROMPT, before, outputs, ["normxlogit"], "auto")
    assert found.prompt == TEXT + " Oslo"
    assert found.tokens[-1] == " Oslo"


def test_tokens_that_the_text_would_not_be_cut_into_are_explained_as_they_are(demo, explainer):
    _, tokenizer = demo
    word = tokenizer.encode("a", add_special_tokens=False)[-1]
    letters = tokenizer.convert_tokens_to_ids(list("nna"))
    answer = [word, *letters]
    assert tokenizer.encode("Ben likes anna") != [*tokenizer.encode("Ben likes"), *answer]
    found = explainer.explain(TextPrompt("Ben likes"), answer, torch.tensor([word]), ["normxlogit"], "auto")
    assert found.prompt.endswith("Ben likes anna")
    assert found.tokens[-4:] == [" a", "n", "n", "a"]


def test_a_next_token_is_explained_after_the_prompt(explainer):
    choices = explainer.choices(PROMPT)
    token = choices.likeliest[4][0]
    before, outputs = output_of(choices, PROMPT, token, None)
    assert (before, outputs.tolist()) == ((), [token])


A, B = TextPrompt("a"), ChatPrompt((("user", "a"),))
CHOICES = Choices(A, (0, 5), ((7, 0.5), (8, 0.25)), (7, 9))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, A, 7, None), "The prompt has changed since the model answered: press Answer again"),
        ((CHOICES, B, 7, None), "The prompt has changed"),
        ((CHOICES, A, None, None), "Choose a first token or a token of the answer, got None and None"),
        ((CHOICES, A, 7, 0), "Choose a first token or a token of the answer, got 7 and 0"),
        ((CHOICES, A, 9, None), "Token 9 is none of the likeliest: choose one of them, or type it"),
        ((CHOICES, A, None, 2), "The answer has 2 tokens, got number 2"),
        ((CHOICES, A, None, -1), "The answer has 2 tokens, got number -1"),
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
        explainer.explain(PROMPT, (), torch.tensor([5]), methods, curvature)


@settings(max_examples=20)
@given(st.integers(0, len(TOKENIZER) - 1))
def test_labels_are_one_line_and_show_what_is_blank(token):
    label = Explainer(load_model()[0], TOKENIZER).label(token)
    assert label
    assert not any(character.isspace() for character in label)


def test_label_of_a_word(explainer):
    assert explainer.label(TOKENIZER.encode("a b", add_special_tokens=False)[-1]) == "\N{OPEN BOX}b"


TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}Answer:{% endif %}"
)


def test_a_chat_is_answered_by_its_template_until_the_end_of_the_turn(demo, monkeypatch):
    model, tokenizer = demo
    chat = ChatPrompt(
        (("system", "Anna lives in Rome. Ben lives in Oslo."), ("user", "Question: Where does Ben live?"))
    )
    plain = Explainer(model, tokenizer).choices(chat)
    assert tokenizer.decode(plain.answer[:1]) == " Oslo"
    written = tokenizer.decode(plain.ids)
    assert written.startswith("<s>Anna lives") or written.startswith("<s> Anna lives")
    talking = load_model()[1]
    talking.chat_template = TEMPLATE
    found = Explainer(model, talking).choices(chat)
    assert found.ids != plain.ids
    # where the turn ends with another token than the text does
    full_stop = tokenizer.encode("Oslo.", add_special_tokens=False)[-1]
    monkeypatch.setattr("captum_heta.inputs.chat.ChatInput.end_of_turn", [full_stop])
    assert Explainer(model, tokenizer).choices(chat).answer[-1] == full_stop
    assert len(Explainer(model, tokenizer).choices(chat).answer) == 2


def test_a_token_of_an_answer_about_documents_is_explained_by_them(demo, explainer):
    documents = DocumentsPrompt(
        (("Register", "Anna lives in Rome. Ben lives in Oslo."), ("Menu", "Ben likes to eat rice.")),
        "Where does Ben live?",
    )
    choices = explainer.choices(documents)
    before, outputs = output_of(choices, documents, None, 0)
    assert demo[1].decode(outputs) == " Oslo"
    found = explainer.explain(documents, before, outputs, ["targeted", "ig"])
    assert not found.failures
    assert set(found.groups) == {"Register", "Menu"}
    shares = found.matrix("shares")[0]
    register = sum(share for share, group in zip(shares.tolist(), found.groups, strict=True) if group == "Register")
    assert register > 0.8
    assert found.tokens[int(shares.argmax())] in (" Oslo", " Ben")
    later = explainer.explain(documents, *output_of(choices, documents, None, 1), ["targeted"])
    assert set(later.groups) == {"Register", "Menu", "the answer before"}
