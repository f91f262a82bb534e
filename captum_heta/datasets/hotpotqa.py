"""HotpotQA: questions that two documents answer together (Yang et al., EMNLP 2018, arXiv 1809.09600)."""

import warnings

from captum_heta.checks import check_count
from captum_heta.datasets.documents import Document, Place, documents_example, kept_paragraphs
from captum_heta.datasets.example import Example
from captum_heta.datasets.records import Record, with_unique_ids
from captum_heta.datasets.source import JSON_OR_PARQUET, Source, read_records

HUB = "hotpotqa/hotpot_qa"
SOURCE = f"HotpotQA ({HUB}; texts of Wikipedia contributors)"
LICENCE = "CC-BY-SA-4.0"


def read_hotpotqa(
    source: Source = HUB, *, paragraphs: int | None = None, split: str | None = None, download: bool = False
) -> list[Example]:
    """Ten paragraphs of Wikipedia, of which two together answer a question.

    Each paragraph is a document with its title. The evidence is the sentences that are marked as supporting facts, the
    distractors all other sentences, the passage all sentences. The target is the answer, which may be ``yes`` or
    ``no``. Records whose supporting facts are no sentences of their paragraphs are left out with a warning; in the
    setting "fullwiki" those are many.

    Args:
        source: JSON as published (``context`` a list of [title, sentences], ``supporting_facts`` one of [title,
            number], ``_id``), or JSON, JSON Lines or Parquet with the fields of the hub's data set, or that itself:
            ``id``, ``question``, ``answer``, ``context`` with ``title`` and ``sentences``, and ``supporting_facts``
            with ``title`` and ``sent_id``, which counts from 0.
        paragraphs: how many a prompt has, the supporting ones and the first of the others, which stay in their order;
            None for all.
        split: which split, of the hub only; None for ``validation``.
        download: whether the data set of the hub may be downloaded, in the setting "distractor".

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: for the hub, without the library ``datasets``, and for Parquet without ``pyarrow``.
        ValueError: if ``paragraphs`` is no number of at least 1, a record is not of this form, or none is left.
    """
    paragraphs = None if paragraphs is None else check_count("paragraphs", paragraphs)
    records = read_records(
        source,
        default_split="validation",
        split=split,
        download=download,
        suffixes=JSON_OR_PARQUET,
        config="distractor",
    )
    found = [(record, _example(record, paragraphs)) for record in records]
    lost = [record for record, example in found if example is None]
    examples = [example for _, example in found if example is not None]
    if not examples:
        raise ValueError(f"{source} has no record whose supporting facts are all sentences of its paragraphs.")
    if lost:
        warnings.warn(
            f"{len(lost)} of {len(records)} records are left out, as their supporting facts name sentences that are "
            f"not in their paragraphs; the first is {lost[0].where}.",
            UserWarning,
            stacklevel=2,
        )
    return with_unique_ids(examples, source)


def _example(record: Record, paragraphs: int | None) -> Example | None:
    """The example of a record, or None if a supporting fact is not there."""
    context = [
        (row.text("title"), [sentence.strip() for sentence in row.texts("sentences", blank=True)])
        for row in record.table("context", "title", "sentences")
    ]
    titles = [title for title, _ in context]
    marked: set[Place] = set()
    for fact in record.table("supporting_facts", "title", "sent_id"):
        title, number = fact.text("title"), fact.integer("sent_id")
        if title not in titles:
            return None
        place = titles.index(title)
        if not 0 <= number < len(context[place][1]) or not context[place][1][number]:
            return None
        marked.add((place, number))
    with_text = [place for place, (_, sentences) in enumerate(context) if any(sentences)]
    supports = [any(place == other for other, _ in marked) for place in with_text]
    documents, evidence = list[Document](), set[Place]()
    for place in (with_text[i] for i in kept_paragraphs(supports, paragraphs)):
        numbers = [number for number, sentence in enumerate(context[place][1]) if sentence]
        evidence |= {(len(documents), j) for j, number in enumerate(numbers) if (place, number) in marked}
        documents.append(Document(titles[place], tuple(context[place][1][number] for number in numbers)))
    return documents_example(
        documents,
        record.text("question"),
        record.text("answer"),
        evidence=evidence,
        name=record.text("_id" if "_id" in record.fields else "id"),
        source=SOURCE,
        licence=LICENCE,
    )
