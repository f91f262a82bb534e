"""Prompts of documents with titles and a question, and where in them the documents' sentences are."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from captum_heta.datasets.example import Example
from captum_heta.spans import Span

Place = tuple[int, int]  # the numbers of a document and of one of its sentences, from 0

_BETWEEN = "\n\n"


@dataclass(frozen=True)
class Document:
    """A title and sentences, or other parts of a text, none of them blank; at least one."""

    title: str
    sentences: tuple[str, ...]


def documents_prompt(
    documents: Sequence[Document], question: str, task: str = "", cue: str = ""
) -> tuple[str, list[list[Span]]]:
    """The prompt, and the characters [start, end) of each sentence of each document.

    It is what `captum_heta.DocumentsInput` writes with the document template ``{name}: {text}``.

    Args:
        documents: in the order of the prompt.
        question: what is asked.
        task: what is before the documents.
        cue: the beginning of the answer, with the space before it.
    """
    prompt, places = task, []
    for number, document in enumerate(documents):
        prompt += f"{_BETWEEN if number else ''}{document.title}:"
        spans = []
        for sentence in document.sentences:
            spans.append((len(prompt) + 1, len(prompt) + 1 + len(sentence)))
            prompt += f" {sentence}"
        places.append(spans)
    return f"{prompt}\n\nQuestion: {question}\nAnswer:{cue}", places


def documents_example(
    documents: Sequence[Document],
    question: str,
    answer: str,
    *,
    evidence: Collection[Place],
    distractors: Collection[Place] | None = None,
    changed: Sequence[Document] | None = None,
    other: str | None = None,
    task: str = "",
    cue: str = "",
    name: str,
    source: str,
    licence: str,
) -> Example:
    """An example whose passage is the texts of documents, without their titles.

    Args:
        documents: in the order of the prompt.
        question: what is asked.
        answer: the target, without the space before it.
        evidence: the sentences that give the answer.
        distractors: those that are like them; None for all others.
        changed: the documents of the counterfactual; None for none.
        other: the answer there.
        task: what is before the documents.
        cue: the beginning of the answer, with the space before it.
        name: the example's id.
        source: where it comes from.
        licence: of its text.
    """
    prompt, places = documents_prompt(documents, question, task, cue)
    spans = {(i, j): span for i, some in enumerate(places) for j, span in enumerate(some)}
    others = set(spans) - set(evidence) if distractors is None else set(distractors)
    return Example(
        prompt=prompt,
        target=f" {answer}",
        evidence=tuple(spans[place] for place in sorted(evidence)),
        distractors=tuple(spans[place] for place in sorted(others)),
        id=name,
        source=source,
        licence=licence,
        passage=tuple((some[0][0], some[-1][1]) for some in places),
        counterfactual=None if changed is None else documents_prompt(changed, question, task, cue)[0],
        counterfactual_target=None if other is None else f" {other}",
    )


def kept_paragraphs(supporting: Sequence[bool], most: int | None) -> list[int]:
    """The numbers of the supporting paragraphs and of the first others, ``most`` together if there are so many others.

    >>> kept_paragraphs([False, False, True, False], 2)
    [0, 2]
    """
    room = len(supporting) if most is None else max(0, most - sum(supporting))
    others = [number for number, supports in enumerate(supporting) if not supports][:room]
    return sorted({*others, *(number for number, supports in enumerate(supporting) if supports)})
