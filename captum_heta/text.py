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


def token_spans(text: str, tokenizer: Any) -> tuple[list[int], list[Span]]:
    """The token ids of ``text``, as the model gets them, and the characters [start, end) of each.

    Special tokens that stand for no text have an empty span. Tokens that are part of one character (the
    bytes of an emoji) all have the span of that character.

    Raises:
        ValueError: if the tokenizer has no offsets and its decoding does not give the text back.
    """
    try:
        return offsets(text, tokenizer)
    except NO_OFFSETS:
        ids = list(tokenizer.encode(text))
        return ids, _decoded_spans(text, ids, tokenizer)


def offsets(text: str, tokenizer: Any, **arguments: Any) -> tuple[list[int], list[Span]]:
    """As `token_spans`, from the tokenizer's own offsets; ``arguments`` are its own.

    Raises:
        NotImplementedError: or another of `NO_OFFSETS`, if it has none.
    """
    encoded = tokenizer(text, return_offsets_mapping=True, **arguments)
    ids = list(encoded["input_ids"])
    special, spans, done = set(tokenizer.all_special_ids), [], 0
    for token, (start, end) in zip(ids, encoded["offset_mapping"], strict=True):
        if start == end and token not in special:
            # some tokenizers trim white space off their offsets, and leave nothing of a token that is no more
            start, end = done, done + _white_space(text, done, len(tokenizer.decode([token])))
        spans.append((int(start), int(end)))
        done = max(done, end)
    return ids, spans


def _white_space(text: str, start: int, most: int) -> int:
    """How many characters from ``start`` on are white space, ``most`` at the most."""
    part = text[start : start + most]
    return len(part) - len(part.lstrip())


def spans_of_ids(ids: Sequence[int], tokenizer: Any) -> tuple[str, list[Span]]:
    """The text of token ids, and the characters [start, end) of each as in `token_spans`.

    It is the text that the tokenizer makes these ids of, special tokens that it does not add itself included. Where
    there is no such text, that of the tokens without the special ones.
    """
    plain, whole = (
        tokenizer.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False) for skip in (True, False)
    )
    candidates = [plain]
    if whole != plain:
        added = [tokenizer.bos_token or "", tokenizer.cls_token or ""]
        ends = [tokenizer.eos_token or "", tokenizer.sep_token or ""]
        candidates += [whole.removeprefix(start).removesuffix(end) for start in added for end in ["", *ends]]
    for candidate in dict.fromkeys(candidates):
        for text in dict.fromkeys([candidate.removeprefix(" "), candidate]):  # some put a space before the first word
            try:
                again, spans = token_spans(text, tokenizer)
            except ValueError:
                continue
            if again == list(ids):
                return text, spans
    return plain, _decoded_spans(plain, list(ids), tokenizer)


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
    opening, closing = absent_characters(text + "".join(map(str, inp.values)))
    keys = inp.dict_keys
    spans: list[list[Span]] = []
    for i, value in enumerate(inp.values):
        found = None
        for marked in _marked(value, opening, closing):
            # one value marked at a time: which one it is needs no number in the marker
            values = [*inp.values[:i], marked, *inp.values[i + 1 :]]
            try:
                rendered = inp.format_fn(**dict(zip(keys, values, strict=True))) if keys else inp.format_fn(*values)
            except (TypeError, ValueError):  # a template that does arithmetic with its values, say
                continue
            if rendered.replace(opening, "").replace(closing, "") == text:
                found = marked_spans(rendered, opening, closing)
                # a template may leave out a text, but one that shows no mark may also have made something else of it
                if found or type(marked) is str:
                    break
                found = None
        if found is None and text.count(str(value)) == 1:
            start = text.index(str(value))
            found = [(start, start + len(str(value)))]
        if found is None:
            raise ValueError(
                f"The template does not show where its value {value!r} is in the prompt. Use a template that inserts "
                "its values as they are."
            )
        spans.append(found)
    return spans


def _marked(value: Any, opening: str, closing: str) -> list[Any]:
    """A value with a mark before and after it wherever it is written, in the ways that a template may take."""
    kind = type(value)

    class Marked(kind):  # type: ignore[misc, valid-type]
        """Numbers cannot hold marks, and a width would count them: they are put around what is written."""

        def __format__(self, form: str) -> str:
            written = format(value, form)
            core = value if isinstance(value, str) and value in written else written.strip()
            before, _, after = written.partition(core)  # what fills a width is not the value's
            return f"{before}{opening}{core}{closing}{after}"

        def __str__(self) -> str:
            return f"{opening}{value!s}{closing}"

        def __repr__(self) -> str:
            return f"{opening}{value!r}{closing}"

    if isinstance(value, str):
        return [f"{opening}{value}{closing}", Marked(value)]
    return [Marked(value)]


def absent_characters(text: str) -> list[str]:
    """Two characters of the private-use area that are not in the text, to mark a place in it."""
    there = set(text)
    return [character for character in map(chr, range(0xE000, 0xF900)) if character not in there][:2]


def marked_spans(rendered: str, opening: str, closing: str) -> list[Span] | None:
    """The characters between each pair of marks, counted without the marks; None if they are no pairs."""
    spans: list[Span] = []
    start, position = None, 0
    for character in rendered:
        if character == opening:
            if start is not None:
                return None
            start = position
        elif character == closing:
            if start is None:
                return None
            spans.append((start, position))
            start = None
        else:
            position += 1
    return spans if start is None else None
