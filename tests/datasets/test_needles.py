import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_heta.datasets import build_needles
from captum_heta.datasets.vocabulary import NAMES, RELATIONS

KINDS = {value: relation for relation in RELATIONS.values() for value in relation.values}


def texts(example, spans):
    return [example.prompt[start:end] for start, end in spans]


@settings(max_examples=15)
@given(seed=st.integers(0, 2**63 - 1), length=st.integers(170, 500), needles=st.integers(1, 5))
def test_any_seed_and_size(demo, sound, seed, length, needles):
    _, tokenizer = demo
    (example,) = examples = build_needles(1, seed, length=length, tokenizer=tokenizer, needles=needles)
    sound(examples)
    assert 0.9 * length < len(tokenizer.encode(example.prompt)) <= length
    (evidence,), (passage,) = texts(example, example.evidence), texts(example, example.passage)
    distractors = texts(example, example.distractors)
    value = example.target.strip()
    relation = KINDS[value]
    (name,) = [word for word in evidence.split() if word in NAMES]
    assert evidence == relation.state(name, value)
    assert len(distractors) == needles - 1
    for sentence in distractors:
        (rival,) = [word for word in sentence.split() if word in NAMES]
        assert sentence == relation.state(rival, sentence.removesuffix(".").rsplit(" ", 1)[1])
    told = set(re.findall(r"\w+", passage))
    assert len(told & set(NAMES)) == needles
    assert len(told & set(KINDS)) == needles
    assert example.prompt.endswith(f"{passage}\nQuestion: {relation.ask(name)}\nAnswer: {relation.begin(name)}")
    other = example.counterfactual_target.strip()
    assert other in set(relation.values) - told
    assert example.counterfactual == example.prompt.replace(evidence, relation.state(name, other))


@settings(max_examples=15)
@given(seed=st.integers(0, 2**63 - 1), needles=st.integers(1, 3), values=st.integers(2, 3))
def test_several_values_of_one_person(demo, sound, seed, needles, values):
    _, tokenizer = demo
    given = {"length": 320, "tokenizer": tokenizer, "needles": needles, "values": values}
    (example,) = examples = build_needles(1, seed, **given)
    sound(examples)
    (evidence,), (passage,) = texts(example, example.evidence), texts(example, example.passage)
    distractors = texts(example, example.distractors)
    value = example.target.strip()
    relation = KINDS[value]
    (name,) = [word for word in evidence.split() if word in NAMES]
    assert evidence == relation.state(name, value)
    assert len(distractors) == needles - 1 + values - 1
    # all of that person are stated in the answer, in their order, but the one that is left
    stated = [sentence for sentence in distractors if name in sentence.split()]
    assert len(stated) == values - 1
    assert example.prompt.endswith(
        f"{passage}\nQuestion: {relation.ask(name)} There are {values} answers.\n"
        f"Answer: {' '.join(stated)} {relation.begin(name)}"
    )
    told = set(re.findall(r"\w+", passage)) & set(KINDS)
    assert len(told) == needles - 1 + values
    other = example.counterfactual_target.strip()
    assert other in set(relation.values) - told
    assert example.counterfactual == example.prompt.replace(evidence, relation.state(name, other))


def test_which_value_is_left_is_drawn(demo):
    _, tokenizer = demo
    examples = build_needles(60, 1000, length=200, tokenizer=tokenizer, needles=1, values=3)
    places = [sum(end < item.evidence[0][0] for _, end in item.distractors) for item in examples]
    assert all(10 < places.count(place) < 30 for place in range(3))


def test_a_long_text(demo, sound):
    _, tokenizer = demo
    (example,) = examples = build_needles(1, 1000, length=4096, tokenizer=tokenizer)
    sound(examples)
    assert 4096 - 20 < len(tokenizer.encode(example.prompt)) <= 4096


def test_seed_decides_and_the_global_generator_is_left_alone(demo):
    _, tokenizer = demo
    before = random.getstate()
    drawn = [build_needles(2, seed, length=200, tokenizer=tokenizer) for seed in range(1000, 1004)]
    assert random.getstate() == before
    assert drawn[3] == build_needles(2, 1003, length=200, tokenizer=tokenizer)
    assert len({example.prompt for examples in drawn for example in examples}) == 8
    assert drawn[0][1].id == "needles-1000-1"


def test_a_model_is_asked_for_each(reader):
    given = {"length": 200, "tokenizer": reader.tokenizer}
    every = build_needles(5, 1000, **given)
    assert build_needles(5, 1000, model=reader.model, **given) == every
    assert reader.asked == [text for item in every for text in (item.prompt, item.counterfactual)]


def test_a_text_that_the_model_cannot_read_is_refused(demo):
    model, tokenizer = demo
    with pytest.raises(ValueError, match="The prompt and its answer have [0-9]+ tokens, more than the 512 positions"):
        build_needles(1, 1000, model=model, tokenizer=tokenizer, length=700)


def test_wrong_arguments_are_told(demo):
    _, tokenizer = demo
    for name in ("needles", "values"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            build_needles(1, 0, length=200, tokenizer=tokenizer, **{name: 0})
    with pytest.raises(ValueError, match="length must be at least [0-9]+, the tokens of the prompt without filler"):
        build_needles(1, 0, length=20, tokenizer=tokenizer)
    with pytest.raises(ValueError, match="pass tokenizer"):
        build_needles(1, 0, length=200, tokenizer=None)
    with pytest.raises(
        ValueError, match="relations have 101 values that are one token each; 101 names and 3 relations"
    ):
        build_needles(1, 0, length=200, tokenizer=tokenizer, needles=100)
