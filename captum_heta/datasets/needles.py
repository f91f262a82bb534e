"""A fact in a long text that has nothing to do with it, after RULER (Hsieh et al., COLM 2024, arXiv 2404.06654)."""

import random
from collections.abc import Sequence
from typing import Any

from captum_heta.checks import check_count, check_seed
from captum_heta.datasets.answers import collected
from captum_heta.datasets.example import Example
from captum_heta.datasets.facts import Fact, example_of, unused, words_of
from captum_heta.datasets.haystack import check_length, haystack
from captum_heta.datasets.reading import reading_prompt
from captum_heta.tokenizers import Tokenizer

SOURCE = "captum_heta.datasets.needles, after RULER"


def build_needles(
    n: int,
    seed: int,
    *,
    length: int,
    tokenizer: Tokenizer,
    model: Any | None = None,
    needles: int = 4,
    values: int = 1,
    counterfactual: bool = True,
) -> list[Example]:
    """``n`` long texts in which sentences of filler hide facts of different people, with a question for one of them.

    The task is RULER's with several keys ("multi-key NIAH"), whose hidden sentences all look alike; here they are facts
    as `build_facts` states them, all of one relation, and the answer is one token. The evidence is the fact that is
    asked for, the distractors are the other facts, the passage is the whole text. Facts are anywhere in it, each depth
    equally likely. Counterfactual and question are as in `build_facts`.

    One needle is RULER's "single NIAH", which has no distractors. With several ``values`` the task is its "multi-value
    NIAH": the person who is asked for has so many facts, and the answer states all in the order of the text but one,
    any of them. That one is the target and the evidence; those that are stated already are distractors, as they say the
    same of the same person and must not be said again.

    Args:
        n: how many.
        seed: of the draw.
        length: how many tokens of ``tokenizer`` a prompt has at the most, special tokens included; it lacks a few.
        tokenizer: of the model.
        model: a causal language model; the examples are those whose value it finds the likeliest next token. None to
            keep all.
        needles: how many people a text has facts of, at least 1.
        values: how many facts the person has who is asked for; the others have one each.
        counterfactual: with a model, keep only the examples whose answer becomes the other value in the
            counterfactual.

    Raises:
        ValueError: for numbers that are none or out of range, a ``length`` that the facts and the question do not fit
            in or that the model cannot read, a tokenizer that has not enough words, and if the model answers too few of
            50 ``n`` tries.
    """
    seed, length = check_seed(seed), check_length(length, tokenizer)
    needles, values = check_count("needles", needles), check_count("values", values)
    words = words_of(tokenizer, needles + values)

    def draft(number: int) -> Example:
        rng = random.Random(f"needles-{seed}-{number}")
        relation = rng.choice(words.relations)
        drawn = rng.sample(relation.values, needles + values - 1)
        names = rng.sample(words.names, needles)
        asked = rng.randrange(needles)
        names += [names[asked]] * (values - 1)
        told = [Fact(name, relation, value) for name, value in zip(names, drawn, strict=True)]
        if values > 1:  # else they are in a random order already, and no draw is needed
            fact = rng.choice([fact for fact in told if fact.name == names[asked]])
            rng.shuffle(told)
            asked = told.index(fact)
        question = _asking(told, asked)
        other = rng.choice(unused(told, relation))
        sentences, places = haystack(
            [fact.sentence for fact in told],
            lambda some: reading_prompt(some, *question)[0],
            length,
            tokenizer,
            rng,
        )
        name = f"needles-{seed}-{number}"
        return example_of(sentences, told, places, asked, other, question=question, name=name, source=SOURCE)

    return collected(draft, n, model=model, tokenizer=tokenizer, counterfactual=counterfactual)


def _asking(told: Sequence[Fact], asked: int) -> tuple[str, str]:
    """What asks for all values of a person, and the answer up to the last of them, that of the fact ``asked``."""
    question, cue = told[asked].question
    stated = [fact.sentence for i, fact in enumerate(told) if fact.name == told[asked].name and i != asked]
    if not stated:
        return question, cue
    return f"{question} There are {len(stated) + 1} answers.", " ".join([*stated, cue])
