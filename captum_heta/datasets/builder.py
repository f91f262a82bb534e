"""Examples like those of the curated set, built from passages and questions of one's own or of SciQ."""

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from captum_heta.checks import check_count, check_seed
from captum_heta.datasets.example import Example
from captum_heta.datasets.questions import question_prompt
from captum_heta.datasets.records import Record, of_rows
from captum_heta.datasets.source import Source, read_records

SCIQ = "allenai/sciq"


def build_curated(
    passages: Sequence[str],
    questions: Iterable[Mapping[str, Any]],
    n: int,
    seed: int,
    *,
    source: str,
    licence: str,
) -> list[Example]:
    """``n`` different pairs of a passage that distracts and a question with the text that answers it.

    The form is that of `read_curated`: passage, support and question in lines, then ``Answer:``; the evidence is the
    support, the distractor the passage (Pramanik et al., ICLR 2026, section 5). Passages that have the answer in them
    are never paired with its question: they would be evidence. Every other pair is equally likely.

    Args:
        passages: texts that have nothing to do with the questions, sentences of stories for one.
        questions: records with ``support``, ``question`` and ``answer``, texts; the answer is in the support.
        n: how many pairs.
        seed: of the draw.
        source: what the examples say that they come from.
        licence: what they say the licence of the texts is.

    Raises:
        TypeError: if ``passages`` is one text.
        ValueError: if ``n`` or ``seed`` is no such number, a passage is blank, a record is not of this form or its
            support lacks the answer, or there are fewer than ``n`` pairs.
    """
    if isinstance(passages, str):
        raise TypeError("passages must be a list of texts, got one text: put it into a list.")
    for number, passage in enumerate(passages, start=1):
        if not isinstance(passage, str) or not passage.strip():
            raise ValueError(f"passages must be texts that are not blank, got {passage!r} as number {number}.")
    n, seed = check_count("n", n), check_seed(seed)
    asked = [_fields(record) for record in of_rows(questions, "questions")]
    rng, seen = random.Random(seed), set[int]()
    total = len(passages) * len(asked)
    examples: list[Example] = []
    while len(examples) < n and len(seen) < total:
        pair = rng.randrange(total)
        place, question = divmod(pair, len(asked))
        if pair not in seen and not _contains(passages[place], asked[question][2]):
            examples.append(_example(place, passages[place], question, asked[question], source, licence))
        seen.add(pair)
    if len(examples) < n:
        raise ValueError(
            f"n must be at most {len(examples)}, the pairs of a passage and a question whose answer is not in the "
            f"passage, got {n}: give more passages or questions."
        )
    return examples


def sciq_questions(source: Source = SCIQ, *, split: str | None = None, download: bool = False) -> list[dict[str, str]]:
    """Questions of SciQ (Welbl et al., 2017, arXiv 1707.06209) for `build_curated`.

    Only those whose support has the answer, word for word, are kept: the evidence must hold it.

    Args:
        source: the data set of the hub, or JSON or JSON Lines with ``support``, ``question`` and ``correct_answer``.
        split: which split, of the hub only; None for ``test``.
        download: whether the data set of the hub may be downloaded. Its licence is CC-BY-NC-3.0.

    Returns:
        Records with ``support``, ``question`` and ``answer``.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: for the hub, without the library ``datasets``.
        ValueError: if a record is not of this form, or no support has its answer.
    """
    found = []
    for record in read_records(source, default_split="test", split=split, download=download):
        if record.fields.get("support") == "":  # many questions have none
            continue
        support, answer = record.text("support"), record.text("correct_answer")
        if _contains(support, answer):
            found.append({"support": support, "question": record.text("question"), "answer": answer})
    if not found:
        raise ValueError(f"{source} has no question whose support has its answer.")
    return found


def _fields(record: Record) -> tuple[str, str, str]:
    """Support, question and answer."""
    support, answer = record.text("support"), record.text("answer")
    if not _contains(support, answer):
        raise record.error(
            "support", f"must have the answer {answer!r} in it, got {support!r}: leave the question out."
        )
    return support, record.text("question"), answer


def _contains(text: str, answer: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text, re.IGNORECASE) is not None


def _example(
    passage: int, story: str, question: int, fields: tuple[str, str, str], source: str, licence: str
) -> Example:
    support, asked, answer = fields
    prompt, (distractor, evidence) = question_prompt([story.strip(), support], asked, separator="\n")
    return Example(
        prompt=prompt,
        target=f" {answer}",
        evidence=(evidence,),
        distractors=(distractor,),
        id=f"passage-{passage}-question-{question}",
        source=source,
        licence=licence,
        passage=(distractor, evidence),
    )
