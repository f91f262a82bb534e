"""TellMeWhy: why-questions about short stories (Lal et al., Findings of ACL 2021, arXiv 2106.06132)."""

import re
from collections import Counter

from captum_heta.datasets.example import Example
from captum_heta.datasets.questions import question_prompt
from captum_heta.datasets.records import LINE, Record, are_lines
from captum_heta.datasets.source import JSON_OR_TEXT, Source, read_records

SOURCE = "TellMeWhy (StonyBrookNLP/tellmewhy)"
LICENCE = "unknown (stories of ROCStories)"

_STORY_AND_QUESTION = re.compile(r"(.*\S)\s+(Why\b[^?]*\?)\s*")


def read_tellmewhy(source: Source, *, split: str | None = None, download: bool = False) -> list[Example]:
    """A story of a few sentences, a why-question, and an answer that a person wrote.

    Questions whose answer most annotators found in the story are kept, the others have none to find. The evidence is
    the sentences that more than half of the annotators marked as helpful, the distractors the other sentences; where no
    sentence has a majority the question is left out. The target is the first answer whose author marked one of these
    sentences, so that it is an answer drawn from the evidence. It is free text: its first word, the onset, may be one
    like "Because", and explaining the whole target says more.

    Args:
        source: JSON or JSON Lines with a record for each answer, or the data set of the hub,
            ``StonyBrookNLP/tellmewhy``: ``question_meta``, ``question``, ``answer``, ``is_ques_answerable``,
            ``original_narrative_form`` (the sentences) and ``helpful_sentences`` (counted from 1). Or a ``.txt`` file
            of prompts, a story and its question in each line: these have no target, evidence or distractors.
        split: which split, of the hub only; None for ``test``.
        download: whether the data set of the hub may be downloaded.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: for the hub, without the library ``datasets``.
        ValueError: if a record is not of this form, or no question is left.
    """
    records = read_records(source, default_split="test", split=split, download=download, suffixes=JSON_OR_TEXT)
    if are_lines(records):
        return [_prompt(record, number) for number, record in enumerate(records)]
    questions: dict[str, list[Record]] = {}
    for record in records:
        questions.setdefault(record.text("question_meta"), []).append(record)
    found = (_example(answers) for answers in questions.values())
    examples = [example for example in found if example is not None]
    if not examples:
        raise ValueError(
            f"{source} has no question that is 'Answerable' and whose annotators agree on a helpful sentence."
        )
    return examples


def _example(answers: list[Record]) -> Example | None:
    """The example of one question, or None without evidence."""
    first = answers[0]
    if not _answerable(first):
        return None
    sentences = first.texts("original_narrative_form")
    marked = [_helpful(answer, sentences) for answer in answers]
    votes = Counter(sentence for helpful in marked for sentence in helpful)
    agreed = {sentence for sentence, count in votes.items() if 2 * count > len(answers)}
    if not agreed:
        return None
    prompt, spans = question_prompt(sentences, first.text("question"), separator=" ")
    chosen = next(answer for answer, helpful in zip(answers, marked, strict=True) if helpful & agreed)
    return Example(
        prompt=prompt,
        target=f" {chosen.text('answer')}",
        evidence=tuple(span for i, span in enumerate(spans) if i in agreed),
        distractors=tuple(span for i, span in enumerate(spans) if i not in agreed),
        id=first.text("question_meta"),
        source=SOURCE,
        licence=LICENCE,
        passage=((spans[0][0], spans[-1][1]),),
    )


def _helpful(answer: Record, sentences: list[str]) -> set[int]:
    """The sentences that the answer's author marked, counted from 0."""
    if answer.texts("original_narrative_form") != sentences:
        raise answer.error("original_narrative_form", "must be that of the other answers to the same question.")
    numbers = answer.integers("helpful_sentences")
    outside = [number for number in numbers if not 1 <= number <= len(sentences)]
    if outside:
        raise answer.error("helpful_sentences", f"must be from 1 to {len(sentences)}, the sentences, got {outside[0]}.")
    return {number - 1 for number in numbers}


def _answerable(answer: Record) -> bool:
    judgement = answer.text("is_ques_answerable")
    if judgement not in ("Answerable", "Not Answerable"):
        raise answer.error("is_ques_answerable", f"must be 'Answerable' or 'Not Answerable', got {judgement!r}.")
    return judgement == "Answerable"


def _prompt(record: Record, number: int) -> Example:
    line = record.text(LINE)
    parts = _STORY_AND_QUESTION.fullmatch(line)
    if parts is None:
        raise ValueError(f"{record.where}: must be a story and a question 'Why ...?', got {line!r:.200}.")
    story, question = parts.groups()
    prompt, spans = question_prompt([story], question, separator=" ")
    return Example(prompt, None, (), (), f"tellmewhy-prompt-{number}", SOURCE, LICENCE, passage=tuple(spans))
