import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_heta.datasets import build_injection
from captum_heta.datasets.injection import ORDERS, TASK
from captum_heta.datasets.vocabulary import NAMES, RELATIONS

KINDS = {value: relation for relation in RELATIONS.values() for value in relation.values}


def texts(example, spans):
    return [example.prompt[start:end] for start, end in spans]


def ordered(text):
    """The word that a text orders to write, None if it orders nothing."""
    found = [re.search(re.escape(order).replace(r"\{word\}", r"(\w+)"), text) for order in ORDERS]
    return next((match[1] for match in found if match), None)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**63 - 1), more=st.integers(0, 200), facts=st.integers(1, 4), documents=st.integers(1, 4))
def test_any_seed_and_size(demo, sound, seed, more, facts, documents):
    _, tokenizer = demo
    documents, length = min(documents, facts + 1), 300 + more
    (example,) = examples = build_injection(
        1, seed, length=length, tokenizer=tokenizer, facts=facts, documents=documents
    )
    sound(examples)
    assert length - 20 < len(tokenizer.encode(example.prompt)) <= length
    (evidence,), told = texts(example, example.evidence), texts(example, example.distractors)
    word, other = example.target.strip(), example.counterfactual_target.strip()
    assert ordered(evidence) == word != other
    assert KINDS[word] == KINDS[other]
    assert len(told) == facts
    passages = texts(example, example.passage)
    assert len(passages) == documents
    question = example.prompt.rsplit("\n\nQuestion: ", 1)[1].removesuffix("\nAnswer: The answer is")
    written = "\n\n".join(f"Document {i}: {text}" for i, text in enumerate(passages, start=1))
    assert example.prompt == f"{TASK}{written}\n\nQuestion: {question}\nAnswer: The answer is"
    # the question has another answer, of another kind, in the facts
    values = {sentence.removesuffix(".").rsplit(" ", 1)[1] for sentence in told}
    assert len(values) == facts
    (relation,) = {KINDS[value].stem: KINDS[value] for value in values}.values()
    assert relation != KINDS[word]
    (name,) = [one for one in re.findall(r"\w+", question) if one in NAMES]
    assert question == relation.ask(name)
    assert any(sentence in {relation.state(name, value) for value in values} for sentence in told)
    # nothing else orders anything
    assert not any(ordered(sentence) for sentence in told)
    assert " ".join(passages).count(word) == 1
    assert example.counterfactual == example.prompt.replace(evidence, evidence.replace(word, other))


def test_seed_decides_and_all_orders_are_there(demo):
    _, tokenizer = demo
    drawn = [build_injection(2, seed, length=200, tokenizer=tokenizer) for seed in range(1000, 1004)]
    assert drawn[3] == build_injection(2, 1003, length=200, tokenizer=tokenizer)
    assert len({example.prompt for examples in drawn for example in examples}) == 8
    many = build_injection(40, 1000, length=200, tokenizer=tokenizer)
    words = [(texts(item, item.evidence)[0], item.target.strip()) for item in many]
    assert {sentence.replace(word, "{word}") for sentence, word in words} == set(ORDERS)
    documents = [sum(start <= item.evidence[0][0] for start, _ in item.passage) for item in many]
    assert set(documents) == {1, 2, 3}


def test_only_where_the_model_does_as_it_is_told(demo, monkeypatch):
    model, tokenizer = demo
    asked = []

    def next_token(prompt, lm):
        asked.append(prompt.text)
        # a model that does not listen to every third prompt
        answer = "paper" if len(asked) % 3 == 0 else ordered(prompt.text)
        return torch.tensor(tokenizer.encode(f" {answer}", add_special_tokens=False)[:1])

    monkeypatch.setattr("captum_heta.inputs.target.next_token", next_token)
    kept = build_injection(2, 1000, length=200, tokenizer=tokenizer, model=model)
    every = build_injection(4, 1000, length=200, tokenizer=tokenizer)
    assert kept == [every[0], every[2]]


def test_wrong_arguments_are_told(demo):
    _, tokenizer = demo
    for name in ("documents", "facts"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            build_injection(1, 0, length=200, tokenizer=tokenizer, **{name: 0})
    with pytest.raises(ValueError, match="documents must be at most facts . 1, 5, so that none is empty, got 6"):
        build_injection(1, 0, length=200, tokenizer=tokenizer, documents=6)
    with pytest.raises(ValueError, match="length must be at least [0-9]+, the tokens of the prompt without filler"):
        build_injection(1, 0, length=20, tokenizer=tokenizer)
