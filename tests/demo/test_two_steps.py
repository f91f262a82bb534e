import random
from itertools import pairwise

import pytest

from captum_heta.demo import chains
from captum_heta.demo.lessons import MOST_CHAINS, chain_text, written_out
from captum_heta.demo.two_steps import PLACES, draw_links
from captum_heta.demo.world import NAMES, is_held_out


def sentences(item):
    return [item.prompt[start:end] for start, end in sorted([item.first, item.second, *item.distractors])]


def solved(item):
    """The person and the place, found by reading."""
    passage, question = item.prompt.split("\nQuestion: ")
    facts = [sentence.strip(".").split() for sentence in passage.split(". ")]
    beside = {fact[0]: fact[3] for fact in facts if fact[2] == "with"}
    inside = {fact[0]: fact[3] for fact in facts if fact[2] == "in"}
    (asked,) = [word for word in question.replace("?", " ").split() if word in beside]
    return beside[asked], inside


def test_chains_are_the_same_for_a_seed():
    assert list(chains(5, seed=3)) == list(chains(5, seed=3))
    assert list(chains(5, seed=3)) != list(chains(5, seed=4))
    assert list(chains(2, seed=3)) == list(chains(5, seed=3))[:2]  # however many are asked for
    assert len({item.id for seed in (0, 1) for item in chains(50, seed)}) == 100


@pytest.mark.parametrize("seed", range(3))
def test_the_two_facts_are_the_evidence(seed):
    for item in chains(30, seed):
        passage, question = item.prompt.split("\nQuestion: ")
        assert " ".join(sentences(item)) == passage
        person, inside = solved(item)
        assert item.reasoning == f" {person}."
        assert item.answer == f" {inside[person]}"
        asked = question.removeprefix("Where is ").removesuffix("?\nAnswer:")
        assert asked in NAMES
        assert item.prompt[slice(*item.first)] == f"{asked} is with {person}."
        assert item.prompt[slice(*item.second)] == f"{person} is in {inside[person]}."
        assert len(item.distractors) == 8
        assert dict(item.others) == {name: place for name, place in inside.items() if name != person}
        # every person and place is another, so that each fact is the only one of its kind
        assert len(set(inside.values())) == 5
        assert len({word for word in passage.replace(".", "").split() if word in NAMES}) == 10


def test_a_rival_is_with_the_same_person():
    for plain, item in zip(chains(30, 3), chains(30, 3, rival=True), strict=True):
        written = item.reasoning.strip(" .")
        assert (item.reasoning, item.answer) == (plain.reasoning, plain.answer)
        beside = [sentence for sentence in sentences(item) if sentence.endswith(f" is with {written}.")]
        assert len(beside) == 2
        assert item.prompt[slice(*item.first)] in beside
        assert sorted(sentences(item)) != sorted(sentences(plain))
        changed = set(sentences(item)) - set(sentences(plain))
        assert changed == set(beside) - {item.prompt[slice(*item.first)]}
        assert item.id != plain.id


def test_facts_are_in_any_order():
    """Neither fact comes first always, nor beside the other, nor at one end of the text."""
    order = [(sentences(item).index(item.prompt[slice(*item.first)]), item) for item in chains(100)]
    assert {place for place, _ in order} == set(range(10))
    assert 30 < sum(item.first < item.second for _, item in order) < 70


def test_each_step_is_an_example():
    for item in chains(20):
        first, second = item.steps
        assert first.prompt == item.prompt
        assert first.target + "." == item.reasoning
        assert second.prompt == item.prompt + item.reasoning
        assert second.target == item.answer
        assert (first.evidence, second.evidence) == ((item.first,), (item.second,))
        for step in (first, second):
            assert sorted(step.evidence + step.distractors) == sorted([item.first, item.second, *item.distractors])
            assert len(step.distractors) == 9  # the other fact distracts, too
            ((start, end),) = step.passage
            assert step.prompt[start:end] == item.prompt.split("\n")[0]
        assert first.id != second.id


def test_no_training_text_has_a_fact_of_a_chain():
    rng = random.Random(0)
    texts = [written_out(*chain_text(rng, MOST_CHAINS)) for _ in range(2000)]
    stated = {sentence for text in texts for sentence in text.split("\n")[0].replace(". ", ".\n").split("\n")}
    answered = {tuple(answer) for text in texts for answer in question_and_first_word(text)}
    for item in chains(200):
        assert item.prompt[slice(*item.first)] not in stated
        assert item.prompt[slice(*item.second)] not in stated
        first = item.prompt[slice(*item.first)].strip(".").split()
        assert (first[0], first[3]) not in answered  # nor does one write it without a statement


def question_and_first_word(text):
    for question, answer in pairwise(text.split("\n")[1:]):
        if question.startswith("Question"):
            yield question.split()[-1].strip("?"), answer.split()[1].strip(".")


def test_half_of_the_answers_begin_with_another_person():
    rng = random.Random(0)
    written = right = 0
    for _ in range(300):
        passage, asked = chain_text(rng, MOST_CHAINS)
        facts = [sentence.strip(".").split() for sentence in passage.split(". ")]
        beside = {fact[0]: fact[3] for fact in facts if fact[2] == "with"}
        inside = {fact[0]: fact[3] for fact in facts if fact[2] == "in"}
        assert len(asked) == len(beside) == len(inside)
        for one in asked:
            name = one.question.removeprefix("Where is ").removesuffix("?")
            *said, place = (one.written + " " + one.answer).replace(".", "").split()
            assert [place] == [inside[person] for person in said]
            assert (said == [beside[name]]) == (not one.written)
            written, right = written + bool(one.written), right + (not one.written)
    assert 0.4 < written / (written + right) < 0.6


def test_people_and_places_of_links_are_all_different():
    links = draw_links(random.Random(0), 6)
    assert len({name for link in links for name in link[:2]}) == 12
    assert len({link.place for link in links} & set(PLACES)) == 6


def test_an_eighth_of_either_fact_is_held_out():
    people = [is_held_out(name, "with", other) for name in NAMES for other in NAMES if name != other]
    places = [is_held_out(name, "in", place) for name in NAMES for place in PLACES]
    for facts in (people, places):
        assert sum(facts) / len(facts) == pytest.approx(1 / 8, abs=0.02)
