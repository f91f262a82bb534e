import re

import pytest
import torch

from captum_heta.datasets import Example
from captum_heta.datasets.answers import UnansweredError, collected, is_written, only_token
from captum_heta.testing.architectures import tiny_model


def made(number, value="harp", other="flute"):
    """The draft with a number; the `reader` answers ``harp``, and ``flute`` to the counterfactual."""
    prompt, swapped = (f"{number}. Anna plays the {word}.\nAnswer: Anna plays the" for word in ("harp", "flute"))
    return Example(
        prompt,
        f" {value}",
        (),
        (),
        str(number),
        "made up",
        "none",
        counterfactual=swapped,
        counterfactual_target=f" {other}",
    )


def ids(examples):
    return [example.id for example in examples]


def test_a_token_is_that_of_the_text(demo):
    _, tokenizer = demo
    token = only_token(" harp", "Anna plays the", tokenizer)
    assert tokenizer.decode([token]) == " harp"
    assert only_token(" architecture", "Anna wants to study", tokenizer) is None  # several


def test_a_token_that_stands_for_another_text_is_none(demo, monkeypatch):
    _, tokenizer = demo
    assert is_written("Anna", tokenizer)
    monkeypatch.setattr(type(tokenizer), "decode", lambda self, token_ids, **arguments: "<unk>")
    assert only_token(" harp", "Anna plays the", tokenizer) is None
    assert not is_written("Anna", tokenizer)


def test_without_a_model_all_are_kept():
    assert ids(collected(made, 3, model=None, tokenizer=None, counterfactual=True)) == ["0", "1", "2"]


def test_what_is_answered_is_kept(reader):
    def draft(number):
        return made(number, "harp" if number % 2 else "flute", "flute" if number % 3 else "harp")

    given = {"model": reader.model, "tokenizer": reader.tokenizer}
    assert ids(collected(draft, 3, **given, counterfactual=False)) == ["1", "3", "5"]
    assert len(reader.asked) == 6
    assert ids(collected(draft, 3, **given, counterfactual=True)) == ["1", "5", "7"]
    # the counterfactual is only asked for where the prompt is answered
    assert len(reader.asked) == 6 + 8 + 4


def test_targets_of_several_tokens_and_none_are_not_answered(reader):
    drafts = [made(0, "architecture"), made(1), made(2)]
    found = collected(
        lambda number: drafts[number], 2, model=reader.model, tokenizer=reader.tokenizer, counterfactual=True
    )
    assert ids(found) == ["1", "2"]


@pytest.mark.parametrize(
    ("counterfactual", "told"),
    [
        (True, "answers 100 of the 100 prompts that were tried, and its answer follows another value in 1; n is 2:"),
        (False, "answers 1 of the 100 prompts that were tried; n is 2: ask for fewer or easier ones"),
    ],
)
def test_how_many_were_tried_is_told(reader, counterfactual, told):
    def draft(number):
        right = number == 7
        return made(number, "harp" if right or counterfactual else "flute", "flute" if right else "harp")

    with pytest.raises(ValueError, match=re.escape(f"LlamaForCausalLM {told}")):
        collected(draft, 2, model=reader.model, tokenizer=reader.tokenizer, counterfactual=counterfactual)


def test_a_model_that_answers_none_is_soon_asked_no_more(reader):
    given = {"model": reader.model, "tokenizer": reader.tokenizer, "counterfactual": False}
    with pytest.raises(UnansweredError, match="answers 0 of the 200 prompts that were tried; n is 100"):
        collected(lambda number: made(number, "flute"), 100, **given)
    # one that answers one is asked for all
    with pytest.raises(UnansweredError, match="answers 1 of the 250 prompts that were tried; n is 5"):
        collected(lambda number: made(number, "harp" if number == 199 else "flute"), 5, **given)


def test_a_random_model_answers_too_little(demo):
    _, tokenizer = demo
    model = tiny_model("llama", vocab_size=len(tokenizer))
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="answers 0 of the 50 prompts that were tried"):
        collected(made, 1, model=model, tokenizer=tokenizer, counterfactual=True)
    assert torch.equal(before, torch.get_rng_state())


def test_wrong_arguments_are_told(demo):
    model, tokenizer = demo
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        collected(made, 0, model=model, tokenizer=tokenizer, counterfactual=True)
    with pytest.raises(ValueError, match="tokens of its tokenizer: pass tokenizer too"):
        collected(made, 1, model=model, tokenizer=None, counterfactual=True)
    with pytest.raises(TypeError, match="Expected a causal language model"):
        collected(made, 1, model=torch.nn.Linear(1, 1), tokenizer=tokenizer, counterfactual=True)
