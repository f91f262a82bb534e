"""Statements spread over filler, so that the whole prompt has a number of tokens."""

import random
from collections.abc import Callable, Sequence
from itertools import islice

from captum_heta.checks import check_count
from captum_heta.datasets.filler import filler
from captum_heta.tokenizers import Tokenizer

_LONG = 40  # more tokens than a sentence of filler has in most vocabularies
_MISSES = 40  # sentences that do not fit before a text is full: there are shorter ones among so many

Write = Callable[[Sequence[str]], str]


def check_length(length: int, tokenizer: Tokenizer | None) -> int:
    """``length`` as an int.

    Raises:
        ValueError: unless it is a whole number of at least 1, and there is a tokenizer to count with.
    """
    if tokenizer is None:
        raise ValueError("length is counted in the tokens of a tokenizer: pass tokenizer.")
    return check_count("length", length)


def haystack(
    statements: Sequence[str], write: Write, length: int, tokenizer: Tokenizer, rng: random.Random
) -> tuple[list[str], list[int]]:
    """Sentences with which a prompt has ``length`` tokens or a few less, and where in them the statements are.

    The statements stay in their order, at depths of the text that are drawn from the uniform distribution.

    Args:
        statements: what must be in the text.
        write: makes the prompt of the sentences.
        length: how many tokens it has at the most, special tokens that the tokenizer puts there included.
        tokenizer: counts them.
        rng: of filler and depths.

    Raises:
        ValueError: if the statements alone are too long.
    """
    depths = sorted(rng.random() for _ in statements)

    def spread(fill: Sequence[str]) -> list[str]:
        sentences, before = [], 0
        for statement, depth in zip(statements, depths, strict=True):
            place = round(depth * len(fill))
            sentences += [*fill[before:place], statement]
            before = place
        return [*sentences, *fill[before:]]

    def size(fill: Sequence[str]) -> int:
        return len(tokenizer.encode(write(spread(fill))))

    least = size([])
    if least > length:
        raise ValueError(f"length must be at least {least}, the tokens of the prompt without filler, got {length}.")
    source, fill, room, misses = filler(rng), list[str](), length - least, 0
    while misses < _MISSES:
        some = list(islice(source, 1 if misses else max(1, room // _LONG)))
        left = length - size([*fill, *some])
        if left >= 0:
            fill, room = [*fill, *some], left
        else:
            misses += 1
    places = [i + round(depth * len(fill)) for i, depth in enumerate(depths)]
    return spread(fill), places
