"""Questions whose answer takes several facts of a long text, after RULER's multi-hop task (arXiv 2404.06654)."""

import random
from itertools import pairwise
from typing import Any

from captum_heta.checks import check_count, check_seed
from captum_heta.datasets.answers import collected
from captum_heta.datasets.example import Example
from captum_heta.datasets.facts import words_of
from captum_heta.datasets.haystack import check_length, haystack
from captum_heta.datasets.reading import reading_example, reading_prompt
from captum_heta.datasets.vocabulary import Relation
from captum_heta.tokenizers import Tokenizer

SOURCE = "captum_heta.datasets.hops, after RULER"

LINKS = ("boss", "coach", "cousin", "landlord", "neighbor")  # no values, and no words of filler


def build_hops(
    n: int,
    seed: int,
    *,
    length: int,
    tokenizer: Tokenizer,
    model: Any | None = None,
    hops: int = 1,
    chains: int = 3,
    counterfactual: bool = True,
) -> list[Example]:
    """``n`` long texts in which filler hides who is whose boss and facts of the bosses, with a question over both.

    ``The boss of Anna is Ben.`` and, anywhere before or after it, ``Ben lives in Oslo.``; then ``Where does the boss of
    Anna live?`` and ``The boss of Anna lives in``. Or cousins, neighbors and the like. The evidence is all sentences of
    the chain that is asked for, the distractors are those of the other chains, which state the same of other people;
    the passage is the whole text. The counterfactual has another value in the last fact of the chain.

    RULER's own are questions of HotpotQA with other questions' paragraphs as a haystack: see `read_hotpotqa`. Here
    nothing is known from elsewhere, and the answer is one token. A model that only picks one of the values is right in
    one of ``chains`` examples, in the counterfactual too, and what is kept of it says nothing of hops.

    Args:
        n: how many.
        seed: of the draw.
        length: how many tokens of ``tokenizer`` a prompt has at the most, special tokens included; it lacks a few.
        tokenizer: of the model.
        model: a causal language model; the examples are those whose value it finds the likeliest next token. None to
            keep all.
        hops: how many people are passed before the one whose fact is asked for, at least 1.
        chains: how many chains there are, at least 2.
        counterfactual: with a model, keep only the examples whose answer becomes the other value in the
            counterfactual.

    Raises:
        ValueError: for numbers that are none or out of range, a ``length`` that the sentences and the question do not
            fit in or that the model cannot read, a tokenizer that has not enough words, and if the model answers too
            few of 50 ``n`` tries.
    """
    seed, length = check_seed(seed), check_length(length, tokenizer)
    hops, chains = check_count("hops", hops), check_count("chains", chains, least=2)
    count = chains * (hops + 1)
    words = words_of(tokenizer, count)

    def draft(number: int) -> Example:
        rng = random.Random(f"hops-{seed}-{number}")
        relation, link = rng.choice(words.relations), rng.choice(LINKS)
        names = rng.sample(words.names, count)
        *values, other = rng.sample(relation.values, chains + 1)
        people = [names[i : i + hops + 1] for i in range(0, count, hops + 1)]
        told = [
            (chain, sentence)
            for chain, value in enumerate(values)
            for sentence in _statements(people[chain], link, relation, value)
        ]
        rng.shuffle(told)
        asked = rng.randrange(chains)
        who = f"the {link} of " * hops + people[asked][0]
        question, cue = relation.ask(who), _capital(relation.begin(who))
        sentences, places = haystack(
            [sentence for _, sentence in told],
            lambda some: reading_prompt(some, question, cue)[0],
            length,
            tokenizer,
            rng,
        )
        evidence = [place for place, (chain, _) in zip(places, told, strict=True) if chain == asked]
        fact = _statements(people[asked], link, relation, values[asked])[-1]
        return reading_example(
            sentences,
            question,
            cue,
            values[asked],
            evidence=evidence,
            distractors=[place for place in places if place not in evidence],
            changed=(sentences.index(fact), relation.state(people[asked][-1], other)),
            other=other,
            name=f"hops-{seed}-{number}",
            source=SOURCE,
        )

    return collected(draft, n, model=model, tokenizer=tokenizer, counterfactual=counterfactual)


def _statements(chain: list[str], link: str, relation: Relation, value: str) -> list[str]:
    """Who is next to whom, and what the last one's value is."""
    links = [f"The {link} of {one} is {other}." for one, other in pairwise(chain)]
    return [*links, relation.state(chain[-1], value)]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
