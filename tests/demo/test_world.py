import random

import pytest

from captum_heta.demo import examples
from captum_heta.demo.lessons import LONGEST_PASSAGE, training_text, written_out
from captum_heta.demo.world import NAMES, RELATIONS, Fact, draw_facts


def test_examples_are_the_same_for_a_seed():
    assert list(examples(5, seed=3)) == list(examples(5, seed=3))
    assert list(examples(5, seed=3)) != list(examples(5, seed=4))
    # the first are the same however many are asked for
    assert list(examples(2, seed=3)) == list(examples(5, seed=3))[:2]
    assert len({item.id for item in examples(50)}) == 50


@pytest.mark.parametrize("seed", range(5))
def test_spans_are_the_sentences_and_only_the_evidence_answers(seed):
    for item in examples(20, seed):
        passage, question = item.prompt.split("\nQuestion: ")
        sentences = [item.prompt[start:end] for start, end in sorted([*item.evidence, *item.distractors])]
        assert " ".join(sentences) == passage
        assert item.passage == ((0, len(passage)),)
        assert len(sentences) == 6
        ((start, end),) = item.evidence
        evidence, answer = item.prompt[start:end], item.target.strip()
        assert item.target == f" {answer}"
        assert answer in evidence
        assert question.endswith("?\nAnswer:")
        # the evidence, and no distractor, has both the answer and what the question names
        asked = next(
            word
            for word in [*NAMES, *(value for relation in RELATIONS.values() for value in relation.values)]
            if word in question.replace("?", "").split()
        )
        holding = [s for s in sentences if {answer, asked} <= set(s.replace(".", "").split())]
        if answer in NAMES or not any(answer in relation.values for relation in RELATIONS.values()):
            assert holding == [evidence]
        else:
            assert evidence in holding


def test_distractors_share_the_name_or_the_relation():
    """Neither alone finds the answer."""
    same_person = same_relation = 0
    for item in examples(50):
        words = [set(item.prompt[start:end].replace(".", "").split()) for start, end in item.distractors]
        ((start, end),) = item.evidence
        names = set(item.prompt[start:end].replace(".", "").split()) & set(NAMES)
        same_person += any(names & sentence for sentence in words)
        same_relation += any(not names & sentence for sentence in words)
    assert same_person > 30
    assert same_relation == 50


def test_no_training_text_has_the_fact_that_an_example_asks_for():
    rng = random.Random(0)
    passages = [written_out(*training_text(rng, LONGEST_PASSAGE)) for _ in range(2000)]
    stated = {sentence for text in passages for sentence in text.split("\n")[0].replace(". ", ".\n").split("\n")}
    for item in examples(200):
        ((start, end),) = item.evidence
        assert item.prompt[start:end] not in stated


def test_an_eighth_of_the_facts_is_held_out():
    facts = [Fact(n, kind, v) for n in NAMES for kind, relation in RELATIONS.items() for v in relation.values]
    assert sum(fact.held_out for fact in facts) / len(facts) == pytest.approx(1 / 8, abs=0.02)


def test_facts_give_every_question_one_answer():
    facts = draw_facts(random.Random(0), count=6, people=3, relations=3)
    assert len({(fact.name, fact.relation) for fact in facts}) == 6
    assert len({(fact.relation, fact.value) for fact in facts}) == 6
