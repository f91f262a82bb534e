"""Whether a sentence and its paraphrase, such as its passive voice, give their common words the same importance."""

import re
import unicodedata
from collections.abc import Sequence

from torch import Tensor

from captum_heta.features import Features
from captum_heta.metrics.agreement import spearman
from captum_heta.spans import Span


def paraphrase_consistency(
    scores: Tensor, words: Sequence[str], other_scores: Tensor, other_words: Sequence[str]
) -> Tensor:
    """Spearman correlation of the scores of the words that two texts share (see `aligned_words`).

    Args:
        scores: (W,), of the words of one text.
        words: W strings, as from `word_scores`.
        other_scores: (W',), of the other text's.
        other_words: W' strings.

    Returns:
        A number in [-1, 1]; NaN where all shared words of one text have the same score.

    Raises:
        ValueError: if there is not one score a word, or if fewer than three words are shared.
    """
    for given, names in ((scores, words), (other_scores, other_words)):
        if given.shape != (len(names),):
            raise ValueError(f"There must be one score a word: got {tuple(given.shape)} scores and {len(names)} words.")
    pairs = aligned_words(words, other_words)
    if len(pairs) < 3:
        shared = ", ".join(repr(words[i]) for i, _ in pairs) or "none"
        raise ValueError(
            f"The texts share {len(pairs)} words ({shared}); an order needs at least 3. Compare texts that say "
            "the same in nearly the same words."
        )
    places, other_places = zip(*pairs, strict=True)
    return spearman(scores[list(places)], other_scores[list(other_places)].to(scores.device))


def aligned_words(words: Sequence[str], other_words: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of places with the same word, in the order of the first text.

    Case and the punctuation around a word do not matter. Where a word occurs several times, the first occurrence goes
    with the other text's first, the second with the second, and those left over with none.
    """
    waiting: dict[str, list[int]] = {}
    for i, word in enumerate(other_words):
        waiting.setdefault(_bare(word), []).append(i)
    waiting.pop("", None)  # punctuation alone
    pairs = []
    for i, word in enumerate(words):
        places = waiting.get(_bare(word))
        if places:
            pairs.append((i, places.pop(0)))
    return pairs


def word_scores(scores: Tensor, text: str, spans: Sequence[Span]) -> tuple[list[str], Tensor]:
    """The words of a text and the sums of their tokens' scores.

    A word is what stands between white space, without the punctuation around it. A token goes where most of its
    characters are; one of white space, punctuation or no characters goes nowhere.

    Args:
        scores: (..., T).
        text: what was tokenized.
        spans: T character ranges [start, end), as from `captum_heta.inputs.offsets.token_spans`.

    Returns:
        W words, and their scores (..., W).

    Raises:
        ValueError: if there is not one score a span, or no word in the text.
    """
    if scores.shape[-1] != len(spans):
        raise ValueError(f"There must be one score a token: got {scores.shape[-1]} scores and {len(spans)} spans.")
    places = [_trimmed(text, *match.span()) for match in re.finditer(r"\S+", text)]
    places = [(start, end) for start, end in places if start < end]
    if not places:
        raise ValueError(f"There is no word in {text!r}.")
    features = Features.of_spans([[place] for place in places], spans)
    return [text[start:end] for start, end in places], features.sum(scores)


def _bare(word: str) -> str:
    start, end = _trimmed(word, 0, len(word))
    return unicodedata.normalize("NFC", word[start:end].casefold())


def _trimmed(text: str, start: int, end: int) -> Span:
    """A range of characters without the punctuation, symbols and white space at its ends."""

    def outside(character: str) -> bool:
        return unicodedata.category(character)[0] in "PSZC"

    while start < end and outside(text[start]):
        start += 1
    while start < end and outside(text[end - 1]):
        end -= 1
    return start, end
