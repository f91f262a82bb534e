"""Where tokens are in a text, in characters: from a tokenizer's offsets, or from what it decodes them to."""

from collections.abc import Iterator, Sequence
from typing import Any

from captum_heta.spans import Span
from captum_heta.tokenizers import Tokenizer

# What tokenizers in Python do when asked for offsets: some refuse, some leave them out.
NO_OFFSETS = (NotImplementedError, KeyError)

# Tokens that are decoded together without offsets, and those that stay when the window moves on.
_WINDOW, _CONTEXT = 16, 4


def token_spans(text: str, tokenizer: Tokenizer) -> tuple[list[int], list[Span]]:
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


def offsets(text: str, tokenizer: Tokenizer, **arguments: Any) -> tuple[list[int], list[Span]]:
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


def spans_of_ids(ids: Sequence[int], tokenizer: Tokenizer) -> tuple[str, list[Span]]:
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


def spans_in(text: str, ids: Sequence[int], tokenizer: Tokenizer) -> list[Span] | None:
    """The characters [start, end) of each token in the text that they decode to; None if these cannot be told."""
    try:
        own, spans = spans_of_ids(ids, tokenizer)
    except ValueError:  # no offsets, and text that is not decoded as it was written
        return None
    before = len(text) - len(own)  # a space that the tokenizer writes before the first word
    if text[max(0, before) :] != own or text[: max(0, before)].strip():
        return None
    return [(before + start, before + end) if start < end else (start, end) for start, end in spans]


def encoded(text: str, tokenizer: Tokenizer) -> tuple[list[int], list[Span]]:
    """The token ids of ``text`` without special tokens around it, and the characters [start, end) of each.

    Raises:
        ValueError: if the tokenizer has no character offsets.
    """
    try:
        ids, spans = offsets(text, tokenizer, add_special_tokens=False)
    except NO_OFFSETS as error:
        raise ValueError(
            f"{type(tokenizer).__name__} has no character offsets, so the tokens of a message cannot be told. Load the "
            "fast tokenizer of the model."
        ) from error
    return ids, reaching_back(text, spans)


def reaching_back(text: str, spans: Sequence[Span]) -> list[Span]:
    """The spans with the white space before each, which some tokenizers leave out of their offsets.

    A token of white space alone then has a place too.
    """
    found, done = [], 0
    for start, end in spans:
        found.append((done if start > done and text[done:start].isspace() else start, end))
        done = max(done, end)
    return found


def place_of(text: str, span: Span, places: Sequence[Span]) -> tuple[int, Span] | None:
    """Which of the places a token belongs to, and its characters there; None if it belongs to what is around them.

    It belongs to the place that it shares most characters with, if at least half of its visible characters are in it.

    Args:
        text: the rendered prompt.
        span: the characters of a token.
        places: character ranges [start, end) that do not overlap.
    """
    start, end = span
    shared = [(max(start, first), min(end, last)) for first, last in places]
    best = max(range(len(places)), key=lambda i: shared[i][1] - shared[i][0], default=None)
    if best is None or shared[best][0] >= shared[best][1]:
        return None
    inside, whole = (len("".join(text[first:last].split())) for first, last in (shared[best], span))
    return (best, shared[best]) if 2 * inside >= whole else None


def _decoded_spans(text: str, ids: list[int], tokenizer: Tokenizer) -> list[Span]:
    """Spans by decoding one token more each time and comparing what is not white space, which tokenizers add and drop.

    A token that only adds white space has the gap between its neighbours.
    """
    places = [i for i, character in enumerate(text) if not character.isspace()]
    whole = _decoded(ids, tokenizer)
    if _visible(whole).lower() != _visible(text).lower():
        raise ValueError(
            f"{type(tokenizer).__name__} has no offsets, and its tokens decode to {whole!r}, not to the prompt: the "
            "characters of a token cannot be told. Use a fast tokenizer or TextTokenInput."
        )
    special, spans = set(tokenizer.all_special_ids), []
    for token, (first, done, is_blank) in zip(ids, _visible_ends(ids, tokenizer), strict=True):
        if token in special:
            spans.append((0, 0))
        elif is_blank:
            spans.append((places[first - 1] + 1 if first else 0, places[first] if first < len(places) else len(text)))
        else:
            last = min(max(done, first + 1), len(places))  # part of a character: the whole of it
            spans.append((places[first], places[last - 1] + 1) if first < last else (0, 0))
    return spans


def _visible_ends(ids: list[int], tokenizer: Tokenizer) -> Iterator[tuple[int, int, bool]]:
    """For each token how many visible characters the text has before and after it, and if it only adds white space.

    A window of tokens is decoded, and not all that are before: the time is linear in their number. The window starts
    only where it says the same as the whole does; word pieces, for one, are written otherwise at a start.
    """
    start, before, ends, done = 0, "", [0], 0
    for count in range(1, len(ids) + 1):
        now = _decoded(ids[start:count], tokenizer)
        # a character whose bytes are not all there yet is left out or decodes to U+FFFD
        end = ends[start] + len(_visible(now).rstrip("\ufffd"))
        is_blank = len(now) > len(before) and _visible(now) == _visible(before)
        first, done = done, max(done, end)
        ends.append(end)
        yield first, done, is_blank
        before = now
        if count - start >= _WINDOW and not now.endswith("\ufffd"):
            for later in range(count - _CONTEXT, start, -1):
                again = _decoded(ids[later:count], tokenizer)
                if ends[later] + len(_visible(again)) == end and _visible(now).endswith(_visible(again)):
                    start, before = later, again
                    break


def _decoded(ids: Sequence[int], tokenizer: Tokenizer) -> str:
    return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _visible(text: str) -> str:
    return "".join(text.split())
