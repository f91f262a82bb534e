"""A small world of people and facts, from which prompts with known evidence are drawn.

A passage states facts about people, one sentence a fact, and a question asks for one of them. Some distractors state
the same relation of somebody else, others a different relation of the same person: neither the name nor the relation
alone finds the answer.
"""

import random
import zlib
from dataclasses import dataclass

from captum_heta.datasets import Example


@dataclass(frozen=True)
class Relation:
    """One kind of fact: how it is stated, and how it is asked for in both directions."""

    statements: tuple[str, ...]
    ask_value: str
    ask_name: str
    values: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = _words(
    """Alice Anna Ben Bruno Carla Clara David Diana Edgar Emma Felix Fiona George Grace Helen Henry Irene Ivan Jack
    Julia Karen Kevin Laura Leo Maria Martin Nina Nora Oscar Otto Paul Petra Robert Rosa Sarah Simon Tina Victor Walter
    Zoe"""
)

RELATIONS = {
    "city": Relation(
        ("{name} lives in {value}.", "{name} has a small house in {value}."),
        "Where does {name} live?",
        "Who lives in {value}?",
        _words(
            """Athens Berlin Boston Cairo Chicago Dublin Geneva Lisbon London Madrid Moscow Naples Oslo Paris Prague
            Rome Tokyo Venice Vienna Warsaw"""
        ),
    ),
    "job": Relation(
        ("{name} works as a {value}.", "{name} earns a living as a {value}."),
        "What is the job of {name}?",
        "Who works as a {value}?",
        _words(
            """baker butcher clerk cook doctor farmer guard judge lawyer miner nurse painter pilot plumber sailor singer
            tailor teacher waiter writer"""
        ),
    ),
    "food": Relation(
        ("{name} likes to eat {value}.", "{name} had {value} for lunch."),
        "What does {name} eat?",
        "Who eats {value}?",
        _words(
            """apples bacon beans bread carrots cheese cherries fish grapes honey mushrooms noodles olives pancakes
            pasta peaches potatoes rice salad soup"""
        ),
    ),
    "pet": Relation(
        ("{name} has a {value} at home.", "{name} takes care of a {value}."),
        "Which pet does {name} have?",
        "Who has a {value}?",
        _words("canary cat dog donkey duck goat goose hamster horse lizard mouse parrot pony rabbit snake turtle"),
    ),
    "instrument": Relation(
        ("{name} plays the {value} on Sunday.", "{name} learned to play the {value}."),
        "Which instrument does {name} play?",
        "Who plays the {value}?",
        _words("banjo cello clarinet drums flute guitar harp organ piano trombone trumpet violin"),
    ),
    "car": Relation(
        ("{name} drives a {value} car.", "{name} parked a {value} car near the river."),
        "What is the color of the car of {name}?",
        "Who drives a {value} car?",
        _words("black blue brown gray green golden pink purple red silver white yellow"),
    ),
    "place": Relation(
        ("{name} left the key in the {value}.", "The key of {name} is in the {value}."),
        "Where is the key of {name}?",
        "Who left the key in the {value}?",
        _words("attic balcony barn bathroom bedroom cellar garage garden hallway kitchen library office"),
    ),
    "sport": Relation(
        ("{name} is very good at {value}.", "{name} trains hard for {value}."),
        "Which sport does {name} do?",
        "Who does {value}?",
        _words("boxing chess cycling fencing football golf hockey rowing running skiing swimming tennis"),
    ),
}

SOURCE = "captum_heta.demo"
LICENCE = "BSD-3-Clause"


def is_held_out(*fact: str) -> bool:
    """Whether a fact in its words is of the fixed eighth of all facts that no training text contains."""
    return zlib.crc32("|".join(fact).encode()) % 8 == 0


@dataclass(frozen=True)
class Fact:
    """``name`` has ``value`` in the relation called ``relation``."""

    name: str
    relation: str
    value: str

    @property
    def held_out(self) -> bool:
        """True for the fixed eighth of all facts that no training text contains."""
        return is_held_out(self.name, self.relation, self.value)

    def state(self, rng: random.Random) -> str:
        """A sentence that states the fact, in one of its wordings."""
        return self._worded(rng.choice(RELATIONS[self.relation].statements))

    def restate(self, sentence: str) -> str:
        """The sentence that states the fact in its other wording."""
        return next(other for other in map(self._worded, RELATIONS[self.relation].statements) if other != sentence)

    def _worded(self, statement: str) -> str:
        return statement.format(name=self.name, value=self.value)

    def ask(self, for_name: bool) -> tuple[str, str]:
        """The question and its answer, asking for the name or for the value."""
        relation = RELATIONS[self.relation]
        question = relation.ask_name if for_name else relation.ask_value
        return question.format(name=self.name, value=self.value), self.name if for_name else self.value


def draw_facts(rng: random.Random, count: int, people: int, relations: int) -> list[Fact]:
    """``count`` different facts about some people, such that every question about one of them has one answer."""
    names = rng.sample(NAMES, people)
    kinds = rng.sample(sorted(RELATIONS), relations)
    pairs = rng.sample([(name, kind) for name in names for kind in kinds], count)
    unused = {kind: rng.sample(RELATIONS[kind].values, people) for kind in kinds}
    return [Fact(name, kind, unused[kind].pop()) for name, kind in pairs]


def prompt_of(sentences: list[str], question: str) -> str:
    """Passage, question and the cue that the answer follows."""
    return f"{' '.join(sentences)}\nQuestion: {question}\nAnswer:"


def example(seed: int, index: int) -> Example:
    """The ``index``-th held-out example of ``seed``: no training text contains the fact that is asked for."""
    rng = random.Random(f"{seed}-{index}")
    while True:
        facts = draw_facts(rng, count=6, people=3, relations=3)
        held_out = [i for i, fact in enumerate(facts) if fact.held_out]
        if held_out:
            break
    asked = rng.choice(held_out)
    sentences = [fact.state(rng) for fact in facts]
    question, answer = facts[asked].ask(for_name=rng.random() < 0.5)
    restated = [fact.restate(sentence) for fact, sentence in zip(facts, sentences, strict=True)]
    starts = [sum(len(s) + 1 for s in sentences[:i]) for i in range(len(sentences))]
    spans = [(start, start + len(s)) for start, s in zip(starts, sentences, strict=True)]
    return Example(
        prompt=prompt_of(sentences, question),
        target=f" {answer}",
        evidence=(spans[asked],),
        distractors=tuple(span for i, span in enumerate(spans) if i != asked),
        id=f"demo-{seed}-{index}",
        source=SOURCE,
        licence=LICENCE,
        paraphrase=prompt_of(restated, question),
        passage=((spans[0][0], spans[-1][1]),),
    )
