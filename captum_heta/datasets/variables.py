"""Chains of variables in a long text, after RULER's variable tracking (Hsieh et al., COLM 2024, arXiv 2404.06654)."""

import random
from typing import Any

from captum_heta.checks import check_count, check_seed
from captum_heta.datasets.answers import collected
from captum_heta.datasets.example import Example
from captum_heta.datasets.facts import words_of
from captum_heta.datasets.haystack import check_length, haystack
from captum_heta.datasets.reading import reading_example, reading_prompt, worked
from captum_heta.tokenizers import Tokenizer

SOURCE = "captum_heta.datasets.variables, after RULER"

_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"  # without I and O, which look like digits
_SHOWN = "paper"  # no value, and no word of filler


def build_variables(
    n: int,
    seed: int,
    *,
    length: int,
    tokenizer: Tokenizer,
    model: Any | None = None,
    hops: int = 2,
    chains: int = 2,
    counterfactual: bool = True,
) -> list[Example]:
    """``n`` long texts in which filler hides chains of variables, with a question for the last one of a chain.

    ``VAR K = violin.`` and, further down, ``VAR P = VAR K.``; then ``What is the value of VAR P?`` and ``The value of
    VAR P is``. The evidence is all statements of the chain that is asked for, the distractors are those of the other
    chains, the passage is the whole text. Before it a chain of other variables is shown with question and answer, as
    in RULER. The counterfactual has another value in the first statement of the chain.

    A model that only picks one of the values is right in one of ``chains`` examples, in the counterfactual too: what is
    kept of a model that answers no more than that says nothing of tracking. Small models do not answer even that.

    RULER's values are numbers of five digits, which many tokenizers cut into digits, and it asks for the names of all
    variables; here values are words of one token, and the answer is one.

    Args:
        n: how many.
        seed: of the draw.
        length: how many tokens of ``tokenizer`` a prompt has at the most, special tokens included; it lacks a few.
        tokenizer: of the model.
        model: a causal language model; the examples are those whose value it finds the likeliest next token. None to
            keep all.
        hops: how often a chain hands its value on, at least 1.
        chains: how many chains there are, at least 2. There are 24 names for variables.
        counterfactual: with a model, keep only the examples whose answer becomes the other value in the
            counterfactual.

    Raises:
        ValueError: for numbers that are none or out of range, a ``length`` that the statements and the question do not
            fit in or that the model cannot read, a tokenizer that has not enough words, and if the model answers too
            few of 50 ``n`` tries.
    """
    seed, length = check_seed(seed), check_length(length, tokenizer)
    hops, chains = check_count("hops", hops), check_count("chains", chains, least=2)
    count = (chains + 1) * (hops + 1)  # with the chain that is shown
    if count > len(_LETTERS):
        raise ValueError(
            f"(chains + 1) * (hops + 1) must be at most {len(_LETTERS)}, the names of variables, got {count}: ask for "
            "fewer hops or chains."
        )
    words = words_of(tokenizer, chains + 1)

    def draft(number: int) -> Example:
        rng = random.Random(f"variables-{seed}-{number}")
        names = rng.sample(_LETTERS, count)
        shown, *variables = (names[i : i + hops + 1] for i in range(0, count, hops + 1))
        *values, other = rng.sample(rng.choice(words.relations).values, chains + 1)
        told = [iter(_statements(chain, value)) for chain, value in zip(variables, values, strict=True)]
        order = rng.sample([chain for chain in range(chains) for _ in range(hops + 1)], chains * (hops + 1))
        asked = rng.randrange(chains)
        question, cue = _asking(variables[asked][-1])
        other_question, answer = _asking(shown[-1])
        before = worked(_statements(shown, _SHOWN), other_question, f"{answer} {_SHOWN}.")
        sentences, places = haystack(
            [next(told[chain]) for chain in order],
            lambda some: reading_prompt(some, question, cue, before)[0],
            length,
            tokenizer,
            rng,
        )
        evidence = [place for place, chain in zip(places, order, strict=True) if chain == asked]
        return reading_example(
            sentences,
            question,
            cue,
            values[asked],
            evidence=evidence,
            distractors=[place for place in places if place not in evidence],
            changed=(evidence[0], _statements(variables[asked], other)[0]),
            other=other,
            name=f"variables-{seed}-{number}",
            source=SOURCE,
            shown=before,
        )

    return collected(draft, n, model=model, tokenizer=tokenizer, counterfactual=counterfactual)


def _asking(name: str) -> tuple[str, str]:
    """What asks for the value of a variable, and the answer up to it."""
    return f"What is the value of VAR {name}?", f"The value of VAR {name} is"


def _statements(chain: list[str], value: str) -> list[str]:
    """A value is given to the first variable, and from each to the next."""
    given = [value, *(f"VAR {name}" for name in chain)]
    return [f"VAR {name} = {what}." for name, what in zip(chain, given[:-1], strict=True)]
