import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_heta.datasets import build_hops
from captum_heta.datasets.filler import COUNTS, FORMS, LOOKS, PLACES, THINGS, TIMES
from captum_heta.datasets.hops import LINKS
from captum_heta.datasets.vocabulary import NAMES, RELATIONS

KINDS = {value: relation for relation in RELATIONS.values() for value in relation.values}


def texts(example, spans):
    return [example.prompt[start:end] for start, end in spans]


def next_of(sentences):
    """Who is next to whom, of sentences such as "The boss of Anna is Ben."."""
    found = [re.fullmatch(r"The (\w+) of (\w+) is (\w+)\.", sentence) for sentence in sentences]
    return {match[2]: match[3] for match in found if match and match[3] in NAMES}


def test_links_mean_nothing_else():
    others = " ".join([*NAMES, *KINDS, *FORMS, *THINGS, *LOOKS, *PLACES, *TIMES, *COUNTS]).lower()
    stems = " ".join(text for some in RELATIONS.values() for text in (some.stem, some.question))
    assert not set(LINKS) & set(re.findall(r"\w+", f"{others} {stems}"))


@settings(max_examples=15)
@given(seed=st.integers(0, 2**63 - 1), more=st.integers(0, 200), hops=st.integers(1, 3), chains=st.integers(2, 3))
def test_any_seed_and_size(demo, sound, seed, more, hops, chains):
    _, tokenizer = demo
    length = 420 + more
    (example,) = examples = build_hops(1, seed, length=length, tokenizer=tokenizer, hops=hops, chains=chains)
    sound(examples)
    assert length - 20 < len(tokenizer.encode(example.prompt)) <= length
    (passage,) = texts(example, example.passage)
    evidence, distractors = texts(example, example.evidence), texts(example, example.distractors)
    assert (len(evidence), len(distractors)) == (hops + 1, (chains - 1) * (hops + 1))
    value, other = example.target.strip(), example.counterfactual_target.strip()
    relation = KINDS[value]
    # the answer follows from the evidence alone, hop by hop
    who = re.search(rf"Question: .*?((?:the (?:{'|'.join(LINKS)}) of )+)(\w+)", example.prompt)
    link, *same = re.findall(r"the (\w+) of", who[1])
    assert same == [link] * (hops - 1)
    person, known = who[2], next_of(evidence)
    assert len(known) == hops
    for _ in range(hops):
        person = known[person]
    fact = relation.state(person, value)
    assert fact in evidence
    whom = who[1] + who[2]
    cue = relation.begin(whom)
    assert example.prompt.endswith(f"{passage}\nQuestion: {relation.ask(whom)}\nAnswer: {cue[0].upper()}{cue[1:]}")
    # the other chains say the same of others
    assert len(next_of(distractors)) == hops * (chains - 1)
    told = set(re.findall(r"\w+", passage)) & set(KINDS)
    assert len(told) == chains
    assert told | {other} <= set(relation.values)
    assert other not in told
    assert example.counterfactual == example.prompt.replace(fact, relation.state(person, other))


def test_seed_decides(demo):
    _, tokenizer = demo
    drawn = [build_hops(2, seed, length=250, tokenizer=tokenizer) for seed in range(1000, 1004)]
    assert drawn[3] == build_hops(2, 1003, length=250, tokenizer=tokenizer)
    assert len({example.prompt for examples in drawn for example in examples}) == 8
    assert drawn[0][1].id == "hops-1000-1"


def test_the_facts_of_a_chain_are_in_any_order(demo):
    _, tokenizer = demo
    examples = build_hops(40, 1000, length=250, tokenizer=tokenizer)
    first = [bool(next_of(texts(item, item.evidence)[:1])) for item in examples]
    assert 10 < sum(first) < 30


def test_wrong_arguments_are_told(demo):
    _, tokenizer = demo
    for name, least in (("hops", 1), ("chains", 2)):
        with pytest.raises(ValueError, match=f"{name} must be at least {least}, got 0"):
            build_hops(1, 0, length=300, tokenizer=tokenizer, **{name: 0})
    with pytest.raises(ValueError, match="length must be at least [0-9]+, the tokens of the prompt without filler"):
        build_hops(1, 0, length=20, tokenizer=tokenizer)
    with pytest.raises(ValueError, match="have 100 values that are one token each"):
        build_hops(1, 0, length=300, tokenizer=tokenizer, chains=50)
