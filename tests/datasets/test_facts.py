import random
import re
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_heta.datasets import build_facts
from captum_heta.datasets.vocabulary import NAMES, RELATIONS

KINDS = {value: relation for relation in RELATIONS.values() for value in relation.values}


def texts(example, spans):
    return [example.prompt[start:end] for start, end in spans]


def parsed(sentence):
    """The name, the relation and the value of a sentence."""
    value = sentence.removesuffix(".").rsplit(" ", 1)[1]
    (name,) = [word for word in sentence.split() if word in NAMES]
    assert KINDS[value].state(name, value) == sentence
    return name, KINDS[value], value


@given(seed=st.integers(0, 2**63 - 1), least=st.integers(2, 18), more=st.integers(0, 16))
def test_any_seed_and_size(sound, seed, least, more):
    most = min(18, least + more)
    examples = build_facts(3, seed, sentences=(least, most))
    sound(examples)
    for example in examples:
        (passage,) = texts(example, example.passage)
        told = [parsed(f"{sentence}.") for sentence in passage.removesuffix(".").split(". ")]
        assert least <= len(told) <= most
        assert len({(name, relation.stem) for name, relation, _ in told}) == len(told)
        values = [value for _, _, value in told]
        assert len(set(values)) == len(values)
        ((evidence,), distractors) = texts(example, example.evidence), texts(example, example.distractors)
        name, relation, value = asked = parsed(evidence)
        assert example.target == f" {value}"
        assert example.prompt == (
            f"Read the text and answer the question.\nText: {passage}\nQuestion: {relation.ask(name)}\n"
            f"Answer: {relation.begin(name)}"
        )
        like = [fact for fact in told if fact != asked and (fact[0] == name or fact[1] == relation)]
        assert list(map(parsed, distractors)) == like
        assert any(fact[1] == relation for fact in like)
        other = example.counterfactual_target.strip()
        assert other in relation.values
        assert other not in values
        assert example.counterfactual == example.prompt.replace(f" {value}.", f" {other}.")


def test_seed_decides_and_the_global_generator_is_left_alone():
    before = random.getstate()
    drawn = [build_facts(4, seed) for seed in range(1000, 1010)]
    assert random.getstate() == before
    assert drawn[3] == build_facts(4, 1003)
    assert drawn[3][:2] == build_facts(2, 1003)
    assert len({example.prompt for examples in drawn for example in examples}) == 40
    assert drawn[0][1].id == "facts-1000-1"


def test_what_is_asked_for_is_anywhere_in_the_text_and_of_any_relation():
    examples = build_facts(300, 1000, sentences=(4, 4))
    places = [item.prompt[: item.evidence[0][0]].count(". ") for item in examples]
    assert all(50 < places.count(place) < 100 for place in range(4))
    assert len({KINDS[item.target.strip()].stem for item in examples}) == len(RELATIONS)
    lengths = {len(texts(item, item.passage)[0].split(". ")) for item in build_facts(60, 1000)}
    assert lengths == {4, 5, 6}


def test_values_are_one_token_of_the_tokenizer(demo):
    _, tokenizer = demo
    for example in build_facts(30, 1000, tokenizer=tokenizer):
        for prompt, target in (
            (example.prompt, example.target),
            (example.counterfactual, example.counterfactual_target),
        ):
            before = tokenizer.encode(prompt)
            (token,) = tokenizer.encode(prompt + target)[len(before) :]
            assert tokenizer.decode([token]) == target


def test_the_embedded_model_answers_what_is_made_for_it(demo):
    model, tokenizer = demo

    def answer(prompt):
        with torch.no_grad():
            return tokenizer.decode(model(torch.tensor([tokenizer.encode(prompt)])).logits[0, -1].argmax())

    kept = build_facts(4, 1001, model=model, tokenizer=tokenizer)
    assert [answer(item.prompt) for item in kept] == [item.target for item in kept]
    assert [answer(item.counterfactual) for item in kept] == [item.counterfactual_target for item in kept]
    numbers = [int(item.id.rsplit("-", 1)[1]) for item in kept]
    every = build_facts(numbers[-1] + 1, 1001, tokenizer=tokenizer)
    right = [i for i, item in enumerate(every) if answer(item.prompt) == item.target]
    flips = [i for i in right if answer(every[i].counterfactual) == every[i].counterfactual_target]
    assert numbers == flips
    assert [every[i] for i in numbers] == kept
    unflipped = build_facts(4, 1001, model=model, tokenizer=tokenizer, counterfactual=False)
    assert [int(item.id.rsplit("-", 1)[1]) for item in unflipped] == right[:4]


def test_a_reader_answers_all(reader):
    given = {"sentences": (2, 9), "tokenizer": reader.tokenizer}
    assert build_facts(5, 1000, model=reader.model, **given) == build_facts(5, 1000, **given)
    assert len(reader.asked) == 10


@pytest.mark.parametrize(
    ("sentences", "told"),
    [
        ((5, 4), "sentences must be a pair with 2 <= least <= most <= 18, got (5, 4)"),
        ((4, 19), "sentences must be a pair with 2 <= least <= most <= 18, got (4, 19)"),
        ((1, 4), "sentences must be at least 2, got 1"),
        ((2, 4.5), "sentences must be a whole number, got 4.5"),
        (5, "sentences must be a pair, the least and the most of a text, got 5"),
        ("46", "sentences must be a pair, the least and the most of a text, got '46'"),
        ((4, 5, 6), "sentences must be a pair, the least and the most of a text, got (4, 5, 6)"),
    ],
)
def test_wrong_sizes_are_told(sentences, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        build_facts(1, 0, sentences=sentences)


def test_other_wrong_arguments_are_told(demo):
    model, _ = demo
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        build_facts(0, 0)
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        build_facts(1, -1)
    with pytest.raises(ValueError, match="pass tokenizer too"):
        build_facts(1, 0, model=model)


def test_a_tokenizer_without_the_words_is_refused():
    letters = SimpleNamespace(
        all_special_ids=[],
        encode=lambda text, add_special_tokens=True: list(text.encode()),
        decode=lambda ids, **arguments: bytes(ids).decode(),
        convert_ids_to_tokens=lambda ids: list(map(chr, ids)),
        convert_tokens_to_ids=lambda tokens: list(map(ord, tokens)),
    )
    told = f"SimpleNamespace. writes {len(NAMES)} of the names, and 0 of the 12 relations have 4 values"
    with pytest.raises(ValueError, match=told):
        build_facts(1, 0, tokenizer=letters)
