"""Biographies to continue: the WikiBio passages of SelfCheckGPT (Manakul et al., EMNLP 2023, arXiv 2303.08896)."""

from captum_heta.checks import check_count
from captum_heta.datasets.example import Example
from captum_heta.datasets.records import LINE, Record, are_lines, with_unique_ids
from captum_heta.datasets.source import JSON_OR_TEXT, Source, read_records
from captum_heta.spans import sentence_spans

SOURCE = "WikiBio (potsawee/wiki_bio_gpt3_hallucination; texts of Wikipedia contributors)"
LICENCE = "CC-BY-SA-3.0"
PROMPTS_SOURCE = "Encyclopedia prompts (casszhao/ReAGent; texts of Wikipedia contributors)"
PROMPTS_LICENCE = "MIT (selection), CC-BY-SA (texts)"


def read_wikibio(
    source: Source, *, sentences: int = 1, split: str | None = None, download: bool = False
) -> list[Example]:
    """The start of a biography of Wikipedia as prompt, its next sentence as target; where that comes from is not known.

    Without evidence, distractors and a passage that they are in, the examples serve metrics that need none, such as
    faithfulness. The GPT-3 passages that come with the data are not read: most of their sentences are false statements
    about people. Biographies of no more than ``sentences`` sentences are left out.

    Args:
        source: JSON or JSON Lines with ``wiki_bio_test_idx`` and ``wiki_bio_text``, or the data set of the hub,
            ``potsawee/wiki_bio_gpt3_hallucination``. Or a ``.txt`` file with a prompt in each line and no targets.
        sentences: how many make the prompt.
        split: which split, of the hub only; None for ``evaluation``, the only one.
        download: whether the data set of the hub may be downloaded.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: for the hub, without the library ``datasets``.
        ValueError: if a record is not of this form, or no biography is long enough.
    """
    sentences = check_count("sentences", sentences)
    records = read_records(source, default_split="evaluation", split=split, download=download, suffixes=JSON_OR_TEXT)
    if are_lines(records):
        if sentences != 1:
            raise ValueError(f"{source} has whole prompts: leave sentences out, got {sentences}.")
        return [_prompt(record, number) for number, record in enumerate(records)]
    found = (_example(record, sentences) for record in records)
    examples = [example for example in found if example is not None]
    if not examples:
        raise ValueError(f"{source} has no biography of more than {sentences} sentences: use fewer.")
    return with_unique_ids(examples, source)


def _example(record: Record, sentences: int) -> Example | None:
    """The example of one biography, or None if it has no sentence to predict."""
    parts = _sentences(record.text("wiki_bio_text"))
    if len(parts) <= sentences:
        return None
    return Example(
        prompt="".join(parts[:sentences]).rstrip(),
        target=f" {parts[sentences].strip()}",
        evidence=(),
        distractors=(),
        id=f"wikibio-{record.integer('wiki_bio_test_idx')}",
        source=SOURCE,
        licence=LICENCE,
    )


def _sentences(text: str) -> list[str]:
    """The sentences, with the white space after them."""
    return [text[start:end] for start, end in sentence_spans(text)]


def _prompt(record: Record, number: int) -> Example:
    return Example(record.text(LINE), None, (), (), f"wikibio-prompt-{number}", PROMPTS_SOURCE, PROMPTS_LICENCE)
