"""The sentences of an output, and the tokens of each."""

from collections.abc import Sequence
from typing import NamedTuple

from captum_heta.features import Features
from captum_heta.inputs.offsets import spans_in
from captum_heta.spans import Span, sentence_spans
from captum_heta.tokenizers import Tokenizer


class Said(NamedTuple):
    """The sentences of an output.

    Attributes:
        spans: the characters [start, end) of each in the output.
        texts: without white space around them.
        tokens: the numbers of the output tokens of each; a special token is in none.
    """

    spans: list[Span]
    texts: list[str]
    tokens: Features


def sentences_of(text: str, token_spans: Sequence[Span]) -> Said:
    """The sentences that have tokens; an output of white space alone is one.

    Args:
        text: the output.
        token_spans: the characters of each of its tokens.
    """
    spans = sentence_spans(text)
    tokens = [visible_span(text, span) for span in token_spans]
    groups = Features.of_spans([[span] for span in spans], tokens).groups
    found = [(span, group) for span, group in zip(spans, groups, strict=True) if group]
    if not found:
        return Said([(0, len(text))], [text.strip()], Features((tuple(range(len(token_spans))),)))
    places = [span for span, _ in found]
    ends = [start for start, _ in places[1:]] + [spans[-1][1]]  # with one that shares the token before it
    places = [(start, end) for (start, _), end in zip(places, ends, strict=True)]
    return Said(
        places, [text[start:end].strip() for start, end in places], Features(tuple(group for _, group in found))
    )


def sentences_said(text: str, ids: Sequence[int], tokenizer: Tokenizer) -> Said:
    """The sentences of an output by its token ids.

    Raises:
        ValueError: if its tokens cannot be told in it.
    """
    spans = spans_in(text, ids, tokenizer)
    if spans is None:
        raise ValueError(
            f"per_sentence: the output {text!r:.80} is not what its tokens decode to, so that its sentences have no "
            "tokens. Load the fast tokenizer of the model, or leave per_sentence out."
        )
    return sentences_of(text, spans)


def visible_span(text: str, span: Span) -> Span:
    """A token's characters without the white space before them, half of " I", which ends the sentence before."""
    start, end = span
    word = text[start:end].lstrip()
    return (end - len(word), end) if word else span
