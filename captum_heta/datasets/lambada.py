"""Annotated LAMBADA: which words make people predict the last one (Vafa et al., EMNLP 2021, arXiv 2109.06387)."""

from captum_heta.datasets.example import Example
from captum_heta.datasets.records import Record, with_unique_ids
from captum_heta.datasets.source import Source, read_records

SOURCE = "Annotated LAMBADA (keyonvafa/sequential-rationales)"
LICENCE = "MIT (annotations), CC-BY-4.0 (texts of LAMBADA)"


def read_lambada(source: Source, *, split: str | None = None, download: bool = False) -> list[Example]:
    """Passages without their last word, which is the target; the evidence is the words that a person chose for it.

    The other words are no distractors: nobody said that they mislead. No part is a passage: the last words cue the
    target, and evidence may be among them. Spans that are given twice count once.

    Args:
        source: JSON Lines (the published file ends in ``.json``) with ``lambadaIndex``, ``text`` and ``rationale``, a
            list of [start, end) in characters of ``text``; or a data set of the hub with these fields, which LAMBADA
            itself has not.
        split: which split, of the hub only.
        download: whether a data set of the hub may be downloaded.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: for the hub, without the library ``datasets``.
        ValueError: if a record is not of this form, or a rationale is empty or reaches into the last word.
    """
    records = read_records(source, default_split="train", split=split, download=download)
    return with_unique_ids([_example(record) for record in records], source)


def _example(record: Record) -> Example:
    text = record.verbatim("text").rstrip()
    target = text.split()[-1]
    prompt = text[: -len(target)].rstrip()
    if not prompt:
        raise record.error("text", f"must have words before the last one, got {text!r}.")
    return Example(
        prompt=prompt,
        target=f" {target}",
        evidence=record.spans("rationale", prompt),
        distractors=(),
        id=f"lambada-{record.integer('lambadaIndex')}",
        source=SOURCE,
        licence=LICENCE,
    )
