"""People, what is said of them and in which words: what generated examples are made of.

No value is a value of two relations, a name, or a word of filler: a sentence that has it in it is the only one.
"""

from collections.abc import Callable
from dataclasses import dataclass


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


@dataclass(frozen=True)
class Relation:
    """One kind of fact.

    Attributes:
        stem: how it is stated, up to the value; an answer begins in the same words.
        question: what asks for the value.
        values: words that can follow the stem of anybody.
    """

    stem: str
    question: str
    values: tuple[str, ...]

    def state(self, name: str, value: str) -> str:
        """The sentence that says it."""
        return f"{self.begin(name)} {value}."

    def begin(self, name: str) -> str:
        """That sentence up to its value."""
        return self.stem.format(name=name)

    def ask(self, name: str) -> str:
        """The question for the value."""
        return self.question.format(name=name)


# no names that are also words, places or months
NAMES = _words(
    """Albert Alice Andrew Anna Arthur Barbara Ben Brian Bruno Carla Christina Clara Daniel David Dennis Diana Edgar
    Elena Ellen Emma Eric Felix Fiona George Greta Hannah Helen Henry Hugo Irene Isabel Ivan James Jonas Judith Julia
    Julian Karen Kate Kevin Laura Leo Linda Lisa Louis Lucas Marcus Maria Martin Megan Michael Monica Nathan Nicholas
    Nina Nora Olivia Oscar Otto Patrick Paul Peter Petra Philip Rachel Rebecca Robert Rosa Samuel Sarah Simon Sophie
    Stephen Susan Teresa Theodore Thomas Tina Tom Ursula Vera Vincent Walter William Zoe"""
)

RELATIONS = {
    "city": Relation(
        "{name} lives in",
        "Where does {name} live?",
        _words(
            """Athens Berlin Boston Cairo Chicago Dallas Delhi Denver Detroit Dublin Geneva Houston Lisbon London Madrid
            Miami Milan Moscow Oslo Paris Prague Rome Seattle Tokyo Toronto Venice Vienna Warsaw"""
        ),
    ),
    "country": Relation(
        "{name} comes from",
        "Which country does {name} come from?",
        _words(
            """Argentina Australia Austria Brazil Canada Chile China Cuba Denmark Egypt Finland France Germany Greece
            India Ireland Italy Japan Kenya Mexico Norway Peru Poland Portugal Russia Spain Sweden Turkey"""
        ),
    ),
    "job": Relation(
        "{name} works as a",
        "What is the job of {name}?",
        _words(
            """baker butcher carpenter chef dentist doctor driver farmer judge lawyer lifeguard mechanic nurse painter
            photographer pilot plumber sailor scientist singer soldier tailor teacher waiter writer"""
        ),
    ),
    "pet": Relation(
        "{name} has a pet",
        "Which pet does {name} have?",
        _words("bird cat dog fish frog goat hamster horse lizard monkey mouse parrot pig rabbit rat snake turtle"),
    ),
    "instrument": Relation(
        "{name} plays the",
        "Which instrument does {name} play?",
        _words("bass cello clarinet drums flute guitar harp horn organ piano saxophone trumpet violin"),
    ),
    "drink": Relation(
        "{name} likes to drink",
        "What does {name} like to drink?",
        _words("beer chocolate cider coffee juice lemonade milk soda tea vodka water whiskey wine"),
    ),
    "fruit": Relation(
        "{name} wants to buy some",
        "Which fruit does {name} want to buy?",
        _words("apples bananas berries cherries grapes lemons mangoes oranges peaches pears plums strawberries"),
    ),
    "sport": Relation(
        "{name} is good at",
        "Which sport is {name} good at?",
        _words(
            """baseball basketball boxing cricket cycling football golf hockey rowing rugby running skating skiing
            soccer surfing swimming tennis volleyball wrestling"""
        ),
    ),
    "subject": Relation(
        "{name} wants to study",
        "What does {name} want to study?",
        _words(
            """architecture art biology chemistry economics engineering geography geology history law literature
            mathematics medicine philosophy physics politics psychology"""
        ),
    ),
    "car": Relation(
        "The car of {name} is",
        "What color is the car of {name}?",
        _words("beige black blue brown golden gray green pink purple red silver turquoise white yellow"),
    ),
    "key": Relation(
        "The key of {name} is in the",
        "Where is the key of {name}?",
        _words("attic basement bathroom bedroom cellar closet drawer garage garden hall kitchen library office pocket"),
    ),
    "day": Relation(
        "{name} takes a holiday on",
        "On which day does {name} take a holiday?",
        _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
    ),
}


@dataclass(frozen=True)
class Vocabulary:
    """Names and relations from which facts are drawn."""

    names: tuple[str, ...]
    relations: tuple[Relation, ...]


def vocabulary(
    least: int, is_name: Callable[[str], bool], is_value: Callable[[str, str], bool], tokenizer: str
) -> Vocabulary:
    """The names and relations that are left of `NAMES` and `RELATIONS`.

    Args:
        least: how many names, and how many values of each relation are needed.
        is_name: which names are taken.
        is_value: which values are taken, each behind the text before it.
        tokenizer: what the two ask, as a message names it.

    Raises:
        ValueError: if fewer than ``least`` names or than three relations with so many values are left.
    """
    names = tuple(filter(is_name, NAMES))
    left = [
        Relation(some.stem, some.question, tuple(value for value in some.values if is_value(value, some.begin("Anna"))))
        for some in RELATIONS.values()
    ]
    relations = tuple(relation for relation in left if len(relation.values) >= least)
    if len(names) < least or len(relations) < 3:
        raise ValueError(
            f"{tokenizer} writes {len(names)} of the names, and {len(relations)} of the {len(RELATIONS)} relations "
            f"have {least} values that are one token each; {least} names and 3 relations are needed: use a tokenizer "
            "with a larger vocabulary, or ask for fewer facts in a text."
        )
    return Vocabulary(names, relations)
