"""A fact in a long text that has nothing to do with it, after RULER (Hsieh et al., COLM 2024, arXiv 2404.06654)."""

import random
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
    counterfactual: bool = True,
) -> list[Example]:
    """``n`` long texts in which sentences of filler hide facts of different people, with a question for one of them.

    The task is RULER's with several keys ("multi-key NIAH"), whose hidden sentences all look alike; here they are facts
    as `build_facts` states them, all of one relation, and the answer is one token. The evidence is the fact that is
    asked for, the distractors are the other facts, the passage is the whole text. Facts are anywhere in it, each depth
    equally likely. Counterfactual and question are as in `build_facts`.

    Args:
        n: how many.
        seed: of the draw.
        length: how many tokens of ``tokenizer`` a prompt has at the most, special tokens included; it lacks a few.
        tokenizer: of the model.
        model: a causal language model; the examples are those whose value it finds the likeliest next token. None to
            keep all.
        needles: how many facts a text has, at least 2.
        counterfactual: with a model, keep only the examples whose answer becomes the other value in the
            counterfactual.

    Raises:
        ValueError: for numbers that are none or out of range, a ``length`` that the facts and the question do not fit
            in or that the model cannot read, a tokenizer that has not enough words, and if the model answers too few of
            50 ``n`` tries.
    """
    seed, length = check_seed(seed), check_length(length, tokenizer)
    needles = check_count("needles", needles, least=2)
    words = words_of(tokenizer, needles + 1)

    def draft(number: int) -> Example:
        rng = random.Random(f"needles-{seed}-{number}")
        relation = rng.choice(words.relations)
        values = rng.sample(relation.values, needles)
        names = rng.sample(words.names, needles)
        told = [Fact(name, relation, value) for name, value in zip(names, values, strict=True)]
        asked = rng.randrange(needles)
        other = rng.choice(unused(told, relation))
        sentences, places = haystack(
            [fact.sentence for fact in told],
            lambda some: reading_prompt(some, *told[asked].question)[0],
            length,
            tokenizer,
            rng,
        )
        return example_of(sentences, told, places, asked, other, name=f"needles-{seed}-{number}", source=SOURCE)

    return collected(draft, n, model=model, tokenizer=tokenizer, counterfactual=counterfactual)
