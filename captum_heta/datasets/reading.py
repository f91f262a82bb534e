"""Generated texts to read, with a question and the beginning of its answer."""

from collections.abc import Sequence

from captum_heta.datasets.example import Example
from captum_heta.datasets.questions import question_prompt
from captum_heta.spans import Span

LICENCE = "BSD-3-Clause"

_TASK = "Read the text and answer the question."


def reading_prompt(sentences: Sequence[str], question: str, cue: str, shown: str = "") -> tuple[str, list[Span]]:
    """The prompt, and the characters [start, end) of each of its ``sentences``.

    It says what is to be done, which small models need, and begins the answer with ``cue``, so that the value follows.
    ``shown`` is another text with its question and answer before it, from `worked`.
    """
    start = f"{_TASK}\n{shown}Text: "
    prompt, spans = question_prompt(sentences, question, separator=" ")
    return f"{start}{prompt} {cue}", [(first + len(start), last + len(start)) for first, last in spans]


def worked(sentences: Sequence[str], question: str, answer: str) -> str:
    """A text with its question and answer, to show what is asked for."""
    prompt, _ = question_prompt(sentences, question, separator=" ")
    return f"Text: {prompt} {answer}\n"


def reading_example(
    sentences: Sequence[str],
    question: str,
    cue: str,
    value: str,
    *,
    evidence: Sequence[int],
    distractors: Sequence[int],
    changed: tuple[int, str],
    other: str,
    name: str,
    source: str,
    shown: str = "",
) -> Example:
    """An example whose passage is all of a text.

    Args:
        sentences: of the text.
        question: what is asked.
        cue: the answer before its value.
        value: the target, a word.
        evidence: the numbers of the sentences that give the answer.
        distractors: those of the sentences that are like them.
        changed: the number of a sentence, and what it is in the counterfactual.
        other: the value that is right there.
        name: the example's id.
        source: where it comes from.
        shown: as in `reading_prompt`.
    """
    prompt, spans = reading_prompt(sentences, question, cue, shown)
    place, statement = changed
    swapped, _ = reading_prompt([*sentences[:place], statement, *sentences[place + 1 :]], question, cue, shown)
    return Example(
        prompt=prompt,
        target=f" {value}",
        evidence=tuple(spans[i] for i in evidence),
        distractors=tuple(spans[i] for i in distractors),
        id=name,
        source=source,
        licence=LICENCE,
        passage=((spans[0][0], spans[-1][1]),),
        counterfactual=swapped,
        counterfactual_target=f" {other}",
    )
