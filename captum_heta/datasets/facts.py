"""Facts about people that are made up, with a question for one of them: examples for any model."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from captum_heta.checks import check_count, check_seed
from captum_heta.datasets.answers import collected, is_written, only_token
from captum_heta.datasets.example import Example
from captum_heta.datasets.reading import reading_example
from captum_heta.datasets.vocabulary import Relation, Vocabulary, vocabulary
from captum_heta.tokenizers import Tokenizer

SOURCE = "captum_heta.datasets.facts"

KINDS = 3  # how many relations a text is about
PEOPLE = 3  # how many people, at least
_MOST = 18  # sentences: six people, as many as the shortest list of values has for them and a counterfactual


@dataclass(frozen=True)
class Fact:
    """``name`` has ``value`` in ``relation``."""

    name: str
    relation: Relation
    value: str

    @property
    def sentence(self) -> str:
        """What states it."""
        return self.relation.state(self.name, self.value)

    @property
    def question(self) -> tuple[str, str]:
        """What asks for the value, and the answer up to it."""
        return self.relation.ask(self.name), self.relation.begin(self.name)

    def like(self, other: "Fact") -> bool:
        """Whether the other is about the same person or of the same relation."""
        return self.name == other.name or self.relation == other.relation


def build_facts(
    n: int,
    seed: int,
    *,
    sentences: tuple[int, int] = (4, 6),
    model: Any | None = None,
    tokenizer: Tokenizer | None = None,
    counterfactual: bool = True,
) -> list[Example]:
    """``n`` short texts of facts that nobody can know, each with a question and its answer up to the value.

    ``Read the text and answer the question.``, the text as ``Anna lives in Oslo. Ben plays the harp. ...``,
    ``Question: Where does Anna live?`` and ``Answer: Anna lives in``; the target is the value, `` Oslo``. The evidence
    is the sentence that states it. The distractors are those that state the same of other people, at least one, and
    other facts of the same person; the passage is the whole text.

    The counterfactual is the prompt with another value of the same kind in the evidence, one that is nowhere in the
    text. A model whose answer is then the other value has read it there, which no label can say.

    With a model only those examples are kept that it answers, which makes them easier than they would be for it
    otherwise. The same arguments give the same examples, and a smaller ``n`` the first of them.

    Args:
        n: how many.
        seed: of the draw.
        sentences: from how many to how many a text has, each number equally likely; from 2 to 18.
        model: a causal language model; the examples are those whose value it finds the likeliest next token. None to
            keep all.
        tokenizer: of the model, whose values are one token each; None for all values, only without a model.
        counterfactual: with a model, keep only the examples whose answer becomes the other value in the
            counterfactual.

    Raises:
        ValueError: for numbers that are none or out of range, a model without a tokenizer, a tokenizer that has not
            enough words, and if the model answers too few of 50 ``n`` tries, which says of how many.
    """
    seed = check_seed(seed)
    least, most = _checked(sentences)
    words = words_of(tokenizer, people(most) + 1)

    def draft(number: int) -> Example:
        rng = random.Random(f"facts-{seed}-{number}")
        told, asked = draw(rng, words, rng.randint(least, most))
        other = rng.choice(unused(told, told[asked].relation))
        sentences = [fact.sentence for fact in told]
        name = f"facts-{seed}-{number}"
        return example_of(sentences, told, range(len(told)), asked, other, name=name, source=SOURCE)

    return collected(draft, n, model=model, tokenizer=tokenizer, counterfactual=counterfactual)


def words_of(tokenizer: Tokenizer | None, least: int) -> Vocabulary:
    """Names and values that a tokenizer has, each value as one token; all of them without one.

    Raises:
        ValueError: if it has too few.
    """
    if tokenizer is None:
        return vocabulary(least, lambda name: True, lambda value, before: True, "The package")
    return vocabulary(
        least,
        lambda name: is_written(name, tokenizer),
        lambda value, before: only_token(f" {value}", before, tokenizer) is not None,
        f"The tokenizer ({type(tokenizer).__name__})",
    )


def people(count: int) -> int:
    """How many people ``count`` sentences are about."""
    return max(PEOPLE, -(-count // KINDS))


def draw(rng: random.Random, words: Vocabulary, count: int) -> tuple[list[Fact], int]:
    """``count`` facts whose values are all different, and which of them is asked for.

    At least one other person has a fact of the same relation.
    """
    names = rng.sample(words.names, people(count))
    kinds = rng.sample(words.relations, KINDS)
    asked, rival = [(name, kinds[0]) for name in names[:2]]
    rest = [(name, kind) for name in names for kind in kinds if (name, kind) not in (asked, rival)]
    pairs = [asked, rival, *rng.sample(rest, count - 2)]
    values = {kind: rng.sample(kind.values, len(names)) for kind in kinds}
    facts = [Fact(name, kind, values[kind].pop()) for name, kind in pairs]
    order = rng.sample(range(count), count)
    return [facts[i] for i in order], order.index(0)


def unused(told: Sequence[Fact], relation: Relation) -> list[str]:
    """The values of a relation that no fact has."""
    return [value for value in relation.values if value not in {fact.value for fact in told}]


def example_of(
    sentences: Sequence[str],
    told: Sequence[Fact],
    places: Sequence[int],
    asked: int,
    other: str,
    *,
    question: tuple[str, str] | None = None,
    name: str,
    source: str,
) -> Example:
    """The example that asks for one of the facts of a text.

    Args:
        sentences: of the text.
        told: the facts.
        places: which of the sentences each is.
        asked: the number of the one that is asked for.
        other: its value in the counterfactual.
        question: what asks for it, and the answer up to its value; None for the fact's own.
        name: the example's id.
        source: where it comes from.
    """
    fact = told[asked]
    return reading_example(
        sentences,
        *(question or fact.question),
        fact.value,
        evidence=[places[asked]],
        distractors=[place for i, place in enumerate(places) if i != asked and told[i].like(fact)],
        changed=(places[asked], replace(fact, value=other).sentence),
        other=other,
        name=name,
        source=source,
    )


def _checked(sentences: Any) -> tuple[int, int]:
    if not isinstance(sentences, Sequence) or isinstance(sentences, str) or len(sentences) != 2:
        raise ValueError(f"sentences must be a pair, the least and the most of a text, got {sentences!r}.")
    least, most = (check_count("sentences", value, least=2) for value in sentences)
    if not least <= most <= _MOST:
        raise ValueError(f"sentences must be a pair with 2 <= least <= most <= {_MOST}, got {sentences!r}.")
    return least, most
