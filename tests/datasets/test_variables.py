import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_heta.datasets import build_variables
from captum_heta.datasets.vocabulary import RELATIONS

KINDS = {value: relation for relation in RELATIONS.values() for value in relation.values}


def texts(example, spans):
    return [example.prompt[start:end] for start, end in spans]


def values_of(text):
    """What each variable of a text is, statement by statement: none is used before it has a value."""
    found = {}
    for name, variable, word in re.findall(r"VAR (\w) = (?:VAR (\w)|(\w+))\.", text):
        assert name not in found
        found[name] = found[variable] if variable else word
    return found


@settings(max_examples=15)
@given(seed=st.integers(0, 2**63 - 1), more=st.integers(0, 200), hops=st.integers(1, 3), chains=st.integers(2, 4))
def test_any_seed_and_size(demo, sound, seed, more, hops, chains):
    _, tokenizer = demo
    length = 420 + more
    given = {"length": length, "tokenizer": tokenizer, "hops": hops, "chains": chains}
    (example,) = examples = build_variables(1, seed, **given)
    sound(examples)
    assert length - 20 < len(tokenizer.encode(example.prompt)) <= length
    (passage,) = texts(example, example.passage)
    evidence, distractors = texts(example, example.evidence), texts(example, example.distractors)
    assert (len(evidence), len(distractors)) == (hops + 1, (chains - 1) * (hops + 1))
    value, other = example.target.strip(), example.counterfactual_target.strip()
    (asked,) = re.findall(r"The value of VAR (\w) is$", example.prompt)
    assert example.prompt.endswith(
        f"{passage}\nQuestion: What is the value of VAR {asked}?\nAnswer: The value of VAR {asked} is"
    )
    told = values_of(passage)
    assert list(values_of(" ".join(evidence)).values()) == [value] * (hops + 1)
    assert told[asked] == value
    assert f"VAR {asked} = " in evidence[-1]
    assert set(values_of(" ".join(distractors)).values()) == set(told.values()) - {value}
    assert len(set(told.values())) == chains
    assert {KINDS[word].stem for word in {*told.values(), other}} == {KINDS[value].stem}
    assert other not in told.values()
    assert example.counterfactual == example.prompt.replace(f"= {value}.", f"= {other}.")


def test_another_chain_is_shown_before_the_text(demo):
    _, tokenizer = demo
    (example,) = build_variables(1, 1000, length=300, tokenizer=tokenizer, hops=1)
    first, second, *_ = re.findall(r"VAR (\w)", example.prompt)
    assert example.prompt.startswith(
        f"Read the text and answer the question.\nText: VAR {first} = paper. VAR {second} = VAR {first}.\n"
        f"Question: What is the value of VAR {second}?\nAnswer: The value of VAR {second} is paper.\nText: "
    )
    ((start, end),) = example.passage
    assert not {first, second} & set(values_of(example.prompt[start:end]))


def test_seed_decides(demo):
    _, tokenizer = demo
    drawn = [build_variables(2, seed, length=300, tokenizer=tokenizer) for seed in range(1000, 1004)]
    assert drawn[3] == build_variables(2, 1003, length=300, tokenizer=tokenizer)
    assert len({example.prompt for examples in drawn for example in examples}) == 8
    assert drawn[0][1].id == "variables-1000-1"


def test_what_a_model_does_not_answer_is_left_out(demo, monkeypatch):
    model, tokenizer = demo
    asked = []

    def next_token(prompt, lm):
        asked.append(prompt.text)
        (name,) = re.findall(r"The value of VAR (\w) is$", prompt.text)
        # a model that takes every third prompt's variables for others
        word = "paper" if len(asked) % 3 == 0 else values_of(prompt.text)[name]
        return torch.tensor(tokenizer.encode(f" {word}", add_special_tokens=False)[:1])

    monkeypatch.setattr("captum_heta.inputs.target.next_token", next_token)
    kept = build_variables(2, 1000, length=300, tokenizer=tokenizer, model=model)
    every = build_variables(4, 1000, length=300, tokenizer=tokenizer)
    # both are asked of the first, one of the second, and both of the third and so on
    assert kept == [every[0], every[2]]


def test_wrong_arguments_are_told(demo):
    _, tokenizer = demo
    for name, least in (("hops", 1), ("chains", 2)):
        with pytest.raises(ValueError, match=f"{name} must be at least {least}, got 0"):
            build_variables(1, 0, length=300, tokenizer=tokenizer, **{name: 0})
    told = r"\(chains \+ 1\) \* \(hops \+ 1\) must be at most 24, the names of variables, got 25: ask for fewer"
    with pytest.raises(ValueError, match=told):
        build_variables(1, 0, length=300, tokenizer=tokenizer, hops=4, chains=4)
    with pytest.raises(ValueError, match="length must be at least [0-9]+, the tokens of the prompt without filler"):
        build_variables(1, 0, length=20, tokenizer=tokenizer)
