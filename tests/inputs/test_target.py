"""One rule from a text to token ids, and one default, wherever a target is named."""

import pytest
import torch
from captum.attr import FeatureAblation, TextTemplateInput, TextTokenInput
from transformers import ByT5Tokenizer

from captum_heta import HETA, LLMTokenAttribution, compare
from captum_heta.app.explainer import Explainer
from captum_heta.app.prompts import TextPrompt
from captum_heta.attr import NormXLogit
from captum_heta.benchmark.case import case_of
from captum_heta.cli.loading import located, outputs_of
from captum_heta.datasets import Example
from captum_heta.inputs import ChatInput, LocatedInput, TextInput
from captum_heta.inputs.target import generated_answer, next_token, target_ids
from captum_heta.models import LanguageModel, without_end

PROMPT = "Anna lives in Rome. Ben lives in Oslo.\nQuestion: Where does Ben live?\nAnswer:"


@pytest.mark.parametrize("target", ["Oslo", " Oslo", "Oslo Oslo", "xyz"])
def test_the_same_text_is_the_same_tokens_everywhere(demo, target):
    model, tokenizer = demo
    lm = LanguageModel(model)
    prompt = LocatedInput(TextInput(PROMPT, tokenizer), tokenizer)
    ids = target_ids(target, prompt, lm).tolist()
    by_wrapper = LLMTokenAttribution(NormXLogit(model), tokenizer)
    seen = []
    by_wrapper.attribute(prompt.inp, target, _inspect_forward=lambda _, output, probs: seen.append(len(probs) - 1))
    assert seen == [len(ids)]
    found = compare({"A": FeatureAblation(model)}, tokenizer, PROMPT, target)
    example = Example(PROMPT, target, (), (), "a", "test", "none")
    assert found.target == tokenizer.decode(ids)
    assert outputs_of(located(PROMPT, model, tokenizer), model, target).tolist() == ids
    assert Explainer(model, tokenizer).typed(TextPrompt(PROMPT), target).tolist() == ids
    assert case_of(example, tokenizer, lm, None).output.tolist() == ids[:1]


def test_white_space_of_a_person_is_kept(demo):
    model, tokenizer = demo
    prompt = LocatedInput(TextInput(PROMPT + " ", tokenizer), tokenizer)
    for target in ("Oslo", " Oslo"):
        found = target_ids(target, prompt, LanguageModel(model)).tolist()
        assert found == tokenizer.encode(target, add_special_tokens=False)


def test_without_a_model_a_text_is_taken_as_it_is(demo):
    prompt = LocatedInput(TextInput(PROMPT, demo[1]), demo[1])
    assert demo[1].decode(target_ids("Oslo", prompt, None)) == "Oslo"


def test_targets_follow_every_kind_of_input(demo):
    model, tokenizer = demo
    tokenizer.chat_template = "{% for m in messages %}{{ bos_token + m['content'] }}{% endfor %}"
    inputs = [
        TextTokenInput(PROMPT, tokenizer),
        TextTemplateInput("{} Ben lives in Oslo.\nQuestion: Where does Ben live?\nAnswer:", ["Anna lives in Rome."]),
        ChatInput([{"role": "user", "content": PROMPT}], tokenizer),
    ]
    expected = target_ids("Oslo", LocatedInput(TextInput(PROMPT, tokenizer), tokenizer), LanguageModel(model))
    for inp in inputs:
        assert torch.equal(target_ids("Oslo", LocatedInput(inp, tokenizer), LanguageModel(model)), expected)
    tokenizer.chat_template = None


def test_slow_tokenizers_that_end_texts_have_targets_too():
    tokenizer = ByT5Tokenizer()
    prompt = LocatedInput(TextInput("ab", tokenizer), tokenizer)
    assert target_ids(" c", prompt, None).tolist() == tokenizer.encode(" c", add_special_tokens=False)


def test_the_next_token_is_the_models(demo):
    model, tokenizer = demo
    prompt = LocatedInput(TextInput(PROMPT, tokenizer), tokenizer)
    expected = model(torch.tensor([prompt.ids])).logits[0, -1].argmax()
    assert next_token(prompt, LanguageModel(model)).tolist() == [expected]


class TestGenerated:
    def test_a_generated_answer_has_no_end(self, demo):
        model, tokenizer = demo
        prompt = LocatedInput(TextInput(PROMPT, tokenizer), tokenizer)
        answer = generated_answer(prompt, LanguageModel(model))
        assert tokenizer.decode(answer) == " Oslo."
        for found in (
            LLMTokenAttribution(NormXLogit(model), tokenizer).attribute(prompt.inp),
            compare({"A": NormXLogit(model)}, tokenizer, PROMPT).results["A"],
        ):
            assert len(found.output_tokens) == len(answer)

    def test_a_model_that_ends_at_once_is_told(self, demo):
        model, tokenizer = demo
        prompt = LocatedInput(TextInput(PROMPT + " Oslo.", tokenizer), tokenizer)
        with pytest.raises(ValueError, match="The model ends the text at once: there is no output to explain"):
            generated_answer(prompt, LanguageModel(model))

    @pytest.mark.parametrize(
        ("ends", "expected"), [(7, [5, 6]), ([6, 7], [5]), (9, [5, 6, 7, 0]), (None, [5, 6, 7, 0]), (5, [])]
    )
    def test_what_ends_a_text_is_cut(self, demo, ends, expected):
        found = without_end(demo[0], torch.tensor([5, 6, 7, 0]), {"eos_token_id": ends})
        assert found.tolist() == expected


def test_heta_has_the_same_default_as_the_command(demo):
    model, tokenizer = demo
    ids = torch.tensor([tokenizer.encode(PROMPT)])
    own = outputs_of(located(PROMPT, model, tokenizer), model, None)
    options = {"curvature": "fisher", "rank": 4}
    assert torch.equal(HETA(model).attribute(ids, **options), HETA(model).attribute(ids, target=own, **options))
