"""Questions in two steps, which are answered by writing down the first step: who is with whom, and who is where.

"Anna is with Ben. Ben is in Oslo. ... Where is Anna?" is answered by " Ben. Oslo". What is written, " Ben", comes from
the first fact, and " Oslo" from the second and from what was written, so that the right chain is known.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from captum_heta.datasets import Example
from captum_heta.demo.world import LICENCE, NAMES, RELATIONS, SOURCE, is_held_out, prompt_of
from captum_heta.spans import Span

CHAINS = 5  # in the text of an example; all but one distract
PLACES = RELATIONS["city"].values


class Link(NamedTuple):
    """``name`` is with ``other``, who is in ``place``."""

    name: str
    other: str
    place: str

    @property
    def sentences(self) -> tuple[str, str]:
        """What states the first and the second fact."""
        return f"{self.name} is with {self.other}.", f"{self.other} is in {self.place}."

    @property
    def question(self) -> str:
        """What asks for the place, in two steps."""
        return f"Where is {self.name}?"

    @property
    def held_out(self) -> tuple[bool, bool]:
        """Of each fact, whether no training text contains it."""
        return is_held_out(self.name, "with", self.other), is_held_out(self.other, "in", self.place)


@dataclass(frozen=True)
class Chain:
    """A prompt that is answered in two steps, and where in the prompt each step comes from.

    Spans are half-open character ranges ``[start, end)`` of ``prompt``. It ends with the answer's cue, so that
    ``prompt + reasoning + answer`` is the whole text.

    Attributes:
        prompt: the text given to the model.
        reasoning: the step that is written first, as it continues the prompt: a name and a full stop.
        answer: the place, as it continues the reasoning.
        first: the sentence that the name comes from.
        second: the sentence that the place comes from, given the name.
        distractors: the other sentences of the text.
        others: the other people that are somewhere, each with the place: what the answer becomes if the reasoning names
            one of them instead.
        id: unique among the chains of all seeds.
    """

    prompt: str
    reasoning: str
    answer: str
    first: Span
    second: Span
    distractors: tuple[Span, ...]
    others: tuple[tuple[str, str], ...]
    id: str

    @property
    def steps(self) -> tuple[Example, Example]:
        """Both steps as examples of their own; the second has the reasoning in its prompt."""
        spans = sorted([self.first, self.second, *self.distractors])
        first, second = (
            Example(
                prompt=prompt,
                target=target,
                evidence=(evidence,),
                distractors=tuple(span for span in spans if span != evidence),
                id=f"{self.id}-{number}",
                source=SOURCE,
                licence=LICENCE,
                passage=((spans[0][0], spans[-1][1]),),
            )
            for number, (prompt, target, evidence) in enumerate(
                [
                    (self.prompt, self.reasoning.removesuffix("."), self.first),
                    (self.prompt + self.reasoning, self.answer, self.second),
                ],
                start=1,
            )
        )
        return first, second


def draw_links(rng: random.Random, count: int) -> list[Link]:
    """``count`` chains in which every person and every place is another."""
    names, places = rng.sample(NAMES, 2 * count), rng.sample(PLACES, count)
    return [Link(*link) for link in zip(names[:count], names[count:], places, strict=True)]


def chain(seed: int, index: int, rival: bool = False) -> Chain:
    """The ``index``-th held-out chain of ``seed``: no training text contains either of its facts.

    With a ``rival`` somebody else is with the person that is written, too.
    """
    rng = random.Random(f"chain-{seed}-{index}")
    while True:
        links = draw_links(rng, CHAINS)
        held_out = [link for link in links if all(link.held_out)]
        if held_out:
            break
    asked = rng.choice(held_out)
    told = [sentence for link in links for sentence in link.sentences]
    rng.shuffle(told)
    if rival:
        other = rng.choice([link for link in links if link != asked])
        told[told.index(other.sentences[0])] = other._replace(other=asked.other).sentences[0]
    starts = [sum(len(s) + 1 for s in told[:i]) for i in range(len(told))]
    spans = {sentence: (start, start + len(sentence)) for start, sentence in zip(starts, told, strict=True)}
    return Chain(
        prompt=prompt_of(told, asked.question),
        reasoning=f" {asked.other}.",
        answer=f" {asked.place}",
        first=spans[asked.sentences[0]],
        second=spans[asked.sentences[1]],
        distractors=tuple(span for sentence, span in spans.items() if sentence not in asked.sentences),
        others=tuple((link.other, link.place) for link in links if link != asked),
        id=f"{'rival' if rival else 'chain'}-{seed}-{index}",
    )


def chains(n: int, seed: int = 0, rival: bool = False) -> Iterator[Chain]:
    """``n`` questions in two steps whose facts no embedded model was trained on, the same for the same seed.

    They are what ``load_model("chain")`` answers. Ten sentences, in random order, say who is with whom and who is
    where; the answer is the person that somebody is with and then the place. Each has the characters of both facts.
    With a ``rival`` one of the other sentences has that person too: "Anna is with Ben. Cleo is with Ben."
    """
    return (chain(seed, index, rival) for index in range(n))
