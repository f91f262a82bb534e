"""What embedded models read in training: texts without held-out facts, and questions about them."""

import random
from collections.abc import Callable
from typing import NamedTuple

from captum_heta.demo.two_steps import draw_links
from captum_heta.demo.world import RELATIONS, draw_facts

QUESTIONS = 6  # about one passage
LONGEST_PASSAGE = 7  # sentences
MOST_CHAINS = 5  # of two sentences


class Asked(NamedTuple):
    """A question and its answer. What is ``written`` of the answer already is not asked for."""

    question: str
    answer: str
    written: str = ""


Lesson = Callable[[random.Random, int], tuple[str, list[Asked]]]
"""From random draws and the longest passage to a passage and questions about it."""


def training_text(rng: random.Random, longest: int) -> tuple[str, list[Asked]]:
    """A passage of up to ``longest`` sentences without held-out facts, and questions about it with their answers.

    Several people share few relations, so that knowing the relation is not enough.
    """
    count = rng.randint(2, longest)
    while True:
        people = rng.randint(2, count)
        fewest = -(-count // people)
        facts = draw_facts(rng, count, people, rng.randint(fewest, min(len(RELATIONS), max(fewest, 3))))
        if not any(fact.held_out for fact in facts):
            break
    questions = [(fact, for_name) for fact in facts for for_name in (False, True)]
    asked = rng.sample(questions, min(QUESTIONS, len(questions)))
    return " ".join(fact.state(rng) for fact in facts), [Asked(*fact.ask(for_name)) for fact, for_name in asked]


def chain_text(rng: random.Random, most: int) -> tuple[str, list[Asked]]:
    """Up to ``most`` chains without held-out facts, and for each the question with its answer in two steps.

    Half of the answers begin with another person, whose place is then asked for. A model that looked the place up by
    the question, past what is written, would be wrong there. No pair that is held out is written.
    """
    count = rng.randint(2, most)
    while True:
        links = draw_links(rng, count)
        if not any(any(link.held_out) for link in links):
            break
    told = [sentence for link in links for sentence in link.sentences]
    rng.shuffle(told)
    asked = []
    for link in links:
        others = [other for other in links if other != link and not link._replace(other=other.other).held_out[0]]
        if others and rng.random() < 0.5:
            other = rng.choice(others)
            asked.append(Asked(link.question, other.place, f" {other.other}."))
        else:
            asked.append(Asked(link.question, f"{link.other}. {link.place}"))
    return " ".join(told), asked


def written_out(passage: str, asked: list[Asked]) -> str:
    """A training text as one string, for the tokenizer."""
    return passage + "".join(f"\nQuestion: {one.question}\nAnswer:{one.written} {one.answer}." for one in asked)
