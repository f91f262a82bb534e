"""MuSiQue: questions in two to four hops over paragraphs (Trivedi et al., TACL 2022, arXiv 2108.00573)."""

from captum_heta.checks import check_count
from captum_heta.datasets.documents import Document, documents_example, kept_paragraphs
from captum_heta.datasets.example import Example
from captum_heta.datasets.records import Record, with_unique_ids
from captum_heta.datasets.source import JSON_OR_PARQUET, Source, read_records

HUB = "dgslibisey/MuSiQue"
SOURCE = "MuSiQue (StonyBrookNLP/musique; texts of Wikipedia contributors)"
LICENCE = "CC-BY-4.0"


def read_musique(
    source: Source = HUB, *, paragraphs: int | None = None, split: str | None = None, download: bool = False
) -> list[Example]:
    """Twenty paragraphs of Wikipedia, of which two to four answer a question one after the other.

    Each paragraph is a document with its title. The evidence is the text of the supporting paragraphs, the distractors
    those of the others, the passage both. Which of a paragraph's sentences are needed is not known. Questions that are
    marked as not answerable, which lack some of their evidence, are left out.

    Args:
        source: JSON, JSON Lines (as published) or Parquet with ``id``, ``question``, ``answer``, ``answerable`` and
            ``paragraphs``, each with ``title``, ``paragraph_text`` and ``is_supporting``; or a data set of the hub with
            these fields.
        paragraphs: how many a prompt has, the supporting ones and the first of the others, which stay in their order;
            None for all.
        split: which split, of the hub only; None for ``validation``.
        download: whether the data set of the hub may be downloaded.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: for the hub, without the library ``datasets``, and for Parquet without ``pyarrow``.
        ValueError: if ``paragraphs`` is no number of at least 1, a record is not of this form or has no paragraph that
            supports, or none is answerable.
    """
    paragraphs = None if paragraphs is None else check_count("paragraphs", paragraphs)
    records = read_records(source, default_split="validation", split=split, download=download, suffixes=JSON_OR_PARQUET)
    examples = [_example(record, paragraphs) for record in records if record.flag("answerable")]
    if not examples:
        raise ValueError(f"{source} has no question that is answerable.")
    return with_unique_ids(examples, source)


def _example(record: Record, paragraphs: int | None) -> Example:
    rows = record.table("paragraphs", "title", "paragraph_text", "is_supporting")
    supports = [row.flag("is_supporting") for row in rows]
    if not any(supports):
        raise record.error("paragraphs", "must have one that is supporting: the question has no evidence.")
    kept = kept_paragraphs(supports, paragraphs)
    return documents_example(
        [Document(rows[i].text("title"), (rows[i].text("paragraph_text"),)) for i in kept],
        record.text("question"),
        record.text("answer"),
        evidence=[(place, 0) for place, i in enumerate(kept) if supports[i]],
        name=record.text("id"),
        source=SOURCE,
        licence=LICENCE,
    )
