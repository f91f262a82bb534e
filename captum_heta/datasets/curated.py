"""The curated set of HETA: a story that distracts, a fact that answers (Pramanik et al., ICLR 2026, section 5)."""

import re
import warnings
from dataclasses import replace

from captum_heta.datasets.example import Example
from captum_heta.datasets.questions import question_prompt
from captum_heta.datasets.records import Record, with_unique_ids
from captum_heta.datasets.source import Source, read_records
from captum_heta.spans import Span

SOURCE = "HETA curated attribution set (VishalPramanik/HETA)"
LICENCE = "Apache-2.0"

# the words that the set's own word indices count
_WORD = re.compile(r"[A-Za-z0-9]+(?:[-'][A-Za-z0-9]+)?")


def read_curated(
    source: Source,
    *,
    evidence: str = "segment",
    unique: bool = True,
    split: str | None = None,
    download: bool = False,
) -> list[Example]:
    """A sentence of a story, a sentence that holds the answer, and the question.

    The prompt has them as lines of plain text and ends with ``Answer:``. The published ``input_text`` has ``<s>``
    between them, which only some tokenizers know, and no cue that the answer follows. The story is the distractor.

    The evidence is by default the whole sentence that holds the answer, because DSA compares the two sentences: scores
    that say nothing then have a DSA near 0, the difference of the lengths. The important words are about half of the
    words of their sentence; against a whole story they put the same scores below 0, and an attribution to the other
    words of the right sentence counts for nothing. They are what alignment F1 asks for. They were chosen by a rule
    (the answer, overlap with the question, then the next words up to eight), not by people.

    Args:
        source: the published JSON, its records as a list or JSON Lines, or a data set of the hub with these fields:
            ``id``, ``narrative_segment``, ``sciq_support_segment``, ``question``, ``answer``, ``important_words``.
        evidence: ``"segment"``, the sentence; or ``"words"``, its important words.
        unique: leave out examples that differ in nothing but their id from an earlier one, with a warning: the
            published 2,000 are 100 inputs, 20 times each.
        split: which split, of the hub only.
        download: whether a data set of the hub may be downloaded.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: for the hub, without the library ``datasets``.
        ValueError: if a record is not of this form, or an important word is not in its sentence.
    """
    if evidence not in ("segment", "words"):
        raise ValueError(f"evidence must be 'segment' or 'words', got {evidence!r}.")
    records = read_records(source, default_split="train", split=split, download=download, key="examples")
    examples = with_unique_ids([_example(record, evidence) for record in records], source)
    if not unique:
        return examples
    kept: dict[Example, Example] = {}
    for example in examples:
        kept.setdefault(replace(example, id=""), example)
    if len(kept) < len(examples):
        warnings.warn(
            f"{source}: only {len(kept)} of the {len(examples)} examples are different, and repeats are left out; "
            "means over the repeats would look more certain than they are. unique=False gives all.",
            UserWarning,
            stacklevel=2,
        )
    return list(kept.values())


def _example(record: Record, evidence: str) -> Example:
    support = record.text("sciq_support_segment")
    parts = [record.text("narrative_segment"), support]
    prompt, (story, fact) = question_prompt(parts, record.text("question"), separator="\n")
    return Example(
        prompt=prompt,
        target=f" {record.text('answer')}",
        evidence=(fact,) if evidence == "segment" else _important(record, support, fact[0]),
        distractors=(story,),
        id=record.text("id"),
        source=SOURCE,
        licence=LICENCE,
        passage=(story, fact),
    )


def _important(record: Record, support: str, start: int) -> tuple[Span, ...]:
    """Every occurrence of the important words in ``support``, which is at ``start`` of the prompt."""
    wanted = {word.lower() for word in record.texts("important_words")}
    if not wanted:
        raise record.error("important_words", "is empty, expected words of 'sciq_support_segment'.")
    found = [word for word in _WORD.finditer(support) if word.group().lower() in wanted]
    missing = wanted - {word.group().lower() for word in found}
    if missing:
        raise record.error("important_words", f"has {min(missing)!r}, which is no word of {support!r}.")
    return tuple((start + word.start(), start + word.end()) for word in found)
