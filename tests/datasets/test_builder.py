import random
import re

import pytest

from captum_heta.datasets import build_curated, sciq_questions

PASSAGES = ["A clown slept.", " The blue ox sang.\n", "Nobody came to the fair."]
QUESTIONS = [
    {"support": "Rust is iron oxide.", "question": "What is rust?", "answer": "iron oxide"},
    {"support": "The ox eats grass.", "question": "What eats grass?", "answer": "Ox"},
]
NAMES = {"source": "made up", "licence": "none"}
# the passage with the ox does not go with the question about the ox
PAIRS = {f"passage-{passage}-question-{question}" for passage in range(3) for question in range(2)} - {
    "passage-1-question-1"
}


def sciq(**changed):
    return {"question": "What is rust?", "correct_answer": "oxide", "support": "Rust is an oxide."} | changed


def test_every_pair_whose_passage_lacks_the_answer(sound):
    examples = build_curated(PASSAGES, QUESTIONS, 5, seed=0, **NAMES)
    sound(examples)
    assert {example.id for example in examples} == PAIRS
    assert {(example.source, example.licence) for example in examples} == {("made up", "none")}


def test_pair_by_hand():
    examples = {example.id: example for example in build_curated(PASSAGES, QUESTIONS, 5, seed=0, **NAMES)}
    example = examples["passage-1-question-0"]
    assert example.prompt == "The blue ox sang.\nRust is iron oxide.\nQuestion: What is rust?\nAnswer:"
    assert example.target == " iron oxide"
    assert [example.prompt[start:end] for start, end in example.distractors] == ["The blue ox sang."]
    assert [example.prompt[start:end] for start, end in example.evidence] == ["Rust is iron oxide."]
    assert example.passage == example.distractors + example.evidence


def test_seed_decides_and_the_global_generator_is_left_alone():
    before = random.getstate()
    drawn = [build_curated(PASSAGES, QUESTIONS, 3, seed=seed, **NAMES) for seed in range(20)]
    assert random.getstate() == before
    assert drawn[3] == build_curated(PASSAGES, QUESTIONS, 3, seed=3, **NAMES)
    assert len({tuple(example.id for example in examples) for examples in drawn}) > 10
    assert {example.id for examples in drawn for example in examples} == PAIRS


def test_part_of_a_word_is_not_the_answer():
    questions = [{"support": "The ox eats.", "question": "Who eats?", "answer": "ox"}]
    assert len(build_curated(["An oxbow."], questions, 1, seed=0, **NAMES)) == 1
    with pytest.raises(ValueError, match="the field 'support' must have the answer 'eat' in it, got 'The ox eats.'"):
        build_curated(["A clown."], [questions[0] | {"answer": "eat"}], 1, seed=0, **NAMES)


def test_too_many_pairs_are_refused():
    with pytest.raises(ValueError, match="n must be at most 5, the pairs .* got 6: give more passages or questions"):
        build_curated(PASSAGES, QUESTIONS, 6, seed=0, **NAMES)
    with pytest.raises(ValueError, match="n must be at most 0"):
        build_curated([], QUESTIONS, 1, seed=0, **NAMES)
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        build_curated(PASSAGES, QUESTIONS, 0, seed=0, **NAMES)


def test_wrong_lists_are_told():
    with pytest.raises(TypeError, match="passages must be a list of texts, got one text: put it into a list"):
        build_curated("A clown.", QUESTIONS, 1, seed=0, **NAMES)
    for wrong in (" ", 3):
        with pytest.raises(ValueError, match=f"passages must be texts that are not blank, got {wrong!r} as number 2"):
            build_curated(["A clown.", wrong], QUESTIONS, 1, seed=0, **NAMES)
    with pytest.raises(ValueError, match="questions holds no records"):
        build_curated(PASSAGES, [], 1, seed=0, **NAMES)
    with pytest.raises(ValueError, match="questions, record 2: the field 'answer' is missing"):
        build_curated(PASSAGES, [QUESTIONS[0], {"support": "x", "question": "y"}], 1, seed=0, **NAMES)


def test_questions_of_sciq_have_their_answer_in_the_support(lines):
    kept = sciq(support="Rust is an Oxide.")
    file = lines(kept, sciq(support=""), sciq(support="Rust is a dioxide."))
    questions = sciq_questions(file)
    assert questions == [{"support": "Rust is an Oxide.", "question": "What is rust?", "answer": "oxide"}]
    assert len(build_curated(PASSAGES, questions, 3, seed=0, **NAMES)) == 3


def test_sciq_of_the_hub(hub):
    hub.sets["allenai/sciq"] = [sciq()]
    with pytest.raises(ValueError, match="'allenai/sciq', and nothing is downloaded unasked"):
        sciq_questions()
    assert hub.calls == []
    assert len(sciq_questions(download=True)) == len(sciq_questions(download=True, split="train")) == 1
    assert hub.calls == [("allenai/sciq", "test"), ("allenai/sciq", "train")]


def test_wrong_records_of_sciq_are_told(lines):
    with pytest.raises(ValueError, match="has no question whose support has its answer"):
        sciq_questions(lines(sciq(support="")))
    with pytest.raises(
        ValueError, match=re.escape("records.jsonl, record 1: the field 'correct_answer' must be a text")
    ):
        sciq_questions(lines(sciq(correct_answer=None)))
    with pytest.raises(ValueError, match=re.escape("records.jsonl, record 1: the field 'support' must be a text")):
        sciq_questions(lines(sciq(support=None)))
