"""Where tokens and template values are in a text, in characters."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from captum.attr import TextTemplateInput

Span = tuple[int, int]

# What tokenizers in Python do when asked for offsets: some refuse, some leave them out.
NO_OFFSETS = (NotImplementedError, KeyError)

_SENTENCE_END = re.compile(r"[.!?][\"'\u201d\u2019)\]]*\s+|[\u3002\uff01\uff1f]\s*|\n\s*")

# Private-use characters that mark a value inside a rendered template.
_OPEN, _CLOSE = "\ue000", "\ue001"


def token_spans(text: str, tokenizer: Any) -> tuple[list[int], list[Span]]:
    """The token ids of ``text``, as the model gets them, and the characters [start, end) of each.

    Special tokens that stand for no text have an empty span. Tokens that are part of one character (the
    bytes of an emoji) all have the span of that character.

    Raises:
        ValueError: if the tokenizer has no offsets and its decoding does not give the text back.
    """
    try:
        encoded = tokenizer(text, return_offsets_mapping=True)
        spans = [(int(start), int(end)) for start, end in encoded["offset_mapping"]]
    except NO_OFFSETS:
        ids = list(tokenizer.encode(text))
        return ids, _decoded_spans(text, ids, tokenizer)
    return list(encoded["input_ids"]), spans


def spans_of_ids(ids: Sequence[int], tokenizer: Any) -> tuple[str, list[Span]]:
    """The text of token ids, without special tokens, and the characters [start, end) of each as in `token_spans`."""
    text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    for candidate in (text.removeprefix(" "), text):  # some tokenizers put a space before the first word
        try:
            again, spans = token_spans(candidate, tokenizer)
        except ValueError:
            continue
        if again == list(ids):
            return candidate, spans
    return text, _decoded_spans(text, list(ids), tokenizer)


def continuation(prompt: str, target: str, tokenizer: Any) -> list[int]:
    """The token ids of ``target`` as they follow those of ``prompt``.

    Some tokenizers put a space before every text they are given: the target is then tokenized behind the prompt.
    """
    before, whole = list(tokenizer.encode(prompt)), list(tokenizer.encode(prompt + target))
    if whole[: len(before)] == before:
        return whole[len(before) :]
    return list(tokenizer.encode(target, add_special_tokens=False))


def sentence_spans(text: str) -> list[Span]:
    """The characters [start, end) of each sentence, with the white space after it.

    A sentence ends at a full stop, a question or an exclamation mark before white space, and at the end of a line.
    """
    cuts = [0, *(end.end() for end in _SENTENCE_END.finditer(text)), len(text)]
    return [(start, end) for start, end in pairwise(cuts) if text[start:end].strip()]


def _decoded_spans(text: str, ids: list[int], tokenizer: Any) -> list[Span]:
    """Spans by decoding one token more each time and comparing what is not white space, which tokenizers add and drop.

    A token that only adds white space has the gap between its neighbours.
    """

    def decoded(count: int) -> str:
        return tokenizer.decode(ids[:count], skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def visible(part: str) -> str:
        return "".join(part.split())

    places = [i for i, character in enumerate(text) if not character.isspace()]
    if visible(decoded(len(ids))).lower() != visible(text).lower():
        raise ValueError(
            f"{type(tokenizer).__name__} has no offsets, and its tokens decode to {decoded(len(ids))!r}, not to the "
            "prompt: the characters of a token cannot be told. Use a fast tokenizer or TextTokenInput."
        )
    special = set(tokenizer.all_special_ids)
    spans: list[Span] = []
    before, done = "", 0
    for count, token in enumerate(ids, start=1):
        if token in special:
            spans.append((0, 0))
            continue
        now = decoded(count)
        # a character whose bytes are not all there yet is left out or decodes to U+FFFD
        first, done = done, max(done, len(visible(now).rstrip("\ufffd")))
        if len(now) > len(before) and visible(now) == visible(before):
            spans.append((places[first - 1] + 1 if first else 0, places[first] if first < len(places) else len(text)))
        else:
            last = min(max(done, first + 1), len(places))  # part of a character: the whole of it
            spans.append((places[first], places[last - 1] + 1) if first < last else (0, 0))
        before = now
    return spans


def value_spans(inp: TextTemplateInput) -> list[list[Span]]:
    """The characters [start, end) of each value of a template in the text that it renders, perhaps several times.

    Raises:
        ValueError: if a callable template changes its values so that they cannot be found.
    """
    text = inp.to_model_input()
    marked = [f"{_OPEN}{value}{_CLOSE}" for value in inp.values]
    keys = inp.dict_keys
    spans: list[list[Span]] = []
    for i in range(len(marked)):
        # one value marked at a time: which one it is needs no number in the marker
        values = [*inp.values[:i], marked[i], *inp.values[i + 1 :]]
        rendered = inp.format_fn(**dict(zip(keys, values, strict=True))) if keys else inp.format_fn(*values)
        found = _marked_spans(rendered) if rendered.replace(_OPEN, "").replace(_CLOSE, "") == text else None
        if found is None and text.count(inp.values[i]) == 1:
            start = text.index(inp.values[i])
            found = [(start, start + len(inp.values[i]))]
        if found is None:
            raise ValueError(
                f"The template does not show where its value {inp.values[i]!r} is in the prompt. Use a template that "
                "inserts its values as they are."
            )
        spans.append(found)
    return spans


def _marked_spans(rendered: str) -> list[Span]:
    spans, start, position = [], 0, 0
    for character in rendered:
        if character == _OPEN:
            start = position
        elif character == _CLOSE:
            spans.append((start, position))
        else:
            position += 1
    return spans
