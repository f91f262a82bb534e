import re

import pytest

from captum_heta.datasets.filler import COUNTS, FORMS, LOOKS, PLACES, THINGS, TIMES
from captum_heta.datasets.vocabulary import NAMES, RELATIONS, Relation, vocabulary

VALUES = [value for relation in RELATIONS.values() for value in relation.values]


def words_of(*texts):
    return {word for text in texts for word in re.findall(r"\w+", text.lower())}


def test_no_word_has_two_meanings():
    assert len(NAMES) == len(set(NAMES)) >= 60
    assert len(VALUES) == len(set(VALUES))
    filler = words_of(*FORMS, *THINGS, *LOOKS, *PLACES, *TIMES, *COUNTS)
    stems = words_of(*(text for some in RELATIONS.values() for text in (some.stem, some.question)))
    names, values = words_of(*NAMES), words_of(*VALUES)
    assert not names & values
    assert not (names | values) & (filler | stems)


def test_every_relation_has_values_that_begin_with_a_consonant_after_a():
    for relation in RELATIONS.values():
        if relation.stem.endswith(" a"):
            assert not [value for value in relation.values if value[0] in "aeiou"]


def test_a_fact_in_words():
    relation = Relation("{name} plays the", "Which instrument does {name} play?", ("harp",))
    assert relation.state("Anna", "harp") == "Anna plays the harp."
    assert relation.begin("Anna") == "Anna plays the"
    assert relation.ask("Anna") == "Which instrument does Anna play?"


def test_what_is_left_is_what_is_taken():
    found = vocabulary(5, lambda name: name != "Anna", lambda value, before: value != "Oslo", "It")
    assert found.names == tuple(name for name in NAMES if name != "Anna")
    assert [relation.stem for relation in found.relations] == [relation.stem for relation in RELATIONS.values()]
    assert found.relations[0].values == tuple(value for value in RELATIONS["city"].values if value != "Oslo")
    # days are seven: too few for eight
    assert len(vocabulary(8, lambda name: True, lambda value, before: True, "It").relations) == len(RELATIONS) - 1


def test_a_value_is_asked_for_behind_its_stem():
    asked = {}
    vocabulary(1, lambda name: True, lambda value, before: asked.setdefault(value, before) is not None, "It")
    assert asked["Oslo"] == "Anna lives in"
    assert asked["attic"] == "The key of Anna is in the"


def test_too_few_words_are_told():
    told = "It writes 1 of the names, and 12 of the 12 relations have 3 values .*; 3 names and 3 relations are needed"
    with pytest.raises(ValueError, match=told):
        vocabulary(3, lambda name: name == "Anna", lambda value, before: True, "It")
    with pytest.raises(ValueError, match="and 2 of the 12 relations have 3 values that are one token each"):
        vocabulary(3, lambda name: True, lambda value, before: "lives" in before or "comes" in before, "It")
