"""LongRA, long-range agreement of analogies (Vafa et al., EMNLP 2021, arXiv 2109.06387)."""

from captum_heta.datasets.example import Example
from captum_heta.datasets.records import Record, with_unique_ids
from captum_heta.datasets.source import Source, read_records
from captum_heta.spans import Span, sentence_spans

SOURCE = "LongRA (keyonvafa/sequential-rationales, prompts as in casszhao/ReAGent)"
LICENCE = "MIT (templates), Apache-2.0 (word pairs)"


def read_longra(
    source: Source, *, known_to: str | None = None, split: str | None = None, download: bool = False
) -> list[Example]:
    """Sentences whose next word goes with a word far before it, past a parenthesis that has nothing to do with it.

    The evidence is the word far before, the distractor the parenthesis, the target the next word; the passage is the
    sentence of the word and all up to the end of the parenthesis, without the words that cue the target. A method can
    only find the evidence if the model uses it, so the original work keeps the examples that a model answers rightly
    with and without the parenthesis: ``known_to`` selects those by the published lists, for other models select anew.

    Args:
        source: JSON Lines with ``id``, ``prompt``, ``target``, ``antecedent``, ``antecedent_span``,
            ``distractor_span`` and ``models_correct``; or a data set of the hub with these fields.
        known_to: a model of ``models_correct``, ``gpt2-xl`` for one; None for all examples.
        split: which split, of the hub only.
        download: whether a data set of the hub may be downloaded.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: for the hub, without the library ``datasets``.
        ValueError: if a record is not of this form, or no record lists ``known_to``.
    """
    records = read_records(source, default_split="train", split=split, download=download)
    examples = [
        _example(record) for record in records if known_to is None or known_to in record.texts("models_correct")
    ]
    if not examples:
        models = sorted({model for record in records for model in record.texts("models_correct")})
        raise ValueError(f"known_to must be one of {', '.join(models) or 'no models'}, got {known_to!r}.")
    return with_unique_ids(examples, source)


def _example(record: Record) -> Example:
    prompt = record.verbatim("prompt").rstrip()
    antecedent = record.text("antecedent")
    start, end = record.span("antecedent_span", prompt)
    if prompt[start:end] != antecedent:
        raise record.error("antecedent_span", f"must be that of {antecedent!r}, got that of {prompt[start:end]!r}.")
    aside = record.span("distractor_span", prompt)
    return Example(
        prompt=prompt,
        target=f" {record.text('target')}",
        evidence=((start, end),),
        distractors=(aside,),
        id=record.text("id"),
        source=SOURCE,
        licence=LICENCE,
        passage=(_passage(prompt, (start, end), aside),),
    )


def _passage(prompt: str, antecedent: Span, aside: Span) -> Span:
    """From the sentence of the antecedent to the end of the parenthesis, in whichever order they are."""
    sentence = max(start for start, _ in sentence_spans(prompt) if start <= antecedent[0])
    return min(sentence, aside[0]), max(antecedent[1], aside[1])
