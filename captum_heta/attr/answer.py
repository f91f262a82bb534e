"""A part of an output, and what it takes from the prompt."""

from collections.abc import Sequence

import torch
from torch import Tensor

from captum_heta.spans import Piece, numbers_of

WEIGHTS = ("surprise", "even")


def answered(rows: Tensor, tokens: Sequence[str], probs: Tensor | None, span: Piece, weights: str) -> Tensor:
    """The weighted mean (F,) of some of the rows (K, F) of an output.

    Args:
        rows: of each output token.
        tokens: the K output tokens as text.
        probs: (K,), how likely each was; None where nobody knows, for "even" alone.
        span: which of them.
        weights: "surprise", -log of each one's probability, or "even".

    Raises:
        ValueError: for a part that the output does not have, other weights, and "surprise" without probabilities.
    """
    return weighed(rows, tokens_of(span, tokens), probs, weights)


def weighed(rows: Tensor, numbers: Sequence[int], probs: Tensor | None, weights: str) -> Tensor:
    """The same of the output tokens with these numbers."""
    chosen = torch.tensor(numbers, device=rows.device)
    check_weights(weights)
    if weights == "even":
        return rows[chosen].mean(0)
    if probs is None:
        raise ValueError("The result does not say how likely its tokens are: pass weights='even'.")
    return rows[chosen].T @ surprise(probs.to(rows)[chosen])


def check_weights(weights: str) -> None:
    """Raise ValueError for others than there are."""
    if weights not in WEIGHTS:
        raise ValueError(f"weights must be one of {', '.join(WEIGHTS)}, got {weights!r}.")


def surprise(probs: Tensor) -> Tensor:
    """Weights (K,) of sum 1 by -log of probabilities (K,); even ones where the model was sure of all."""
    found = -probs.clamp(min=torch.finfo(probs.dtype).tiny).log().clamp(max=0)
    total = found.sum()
    return found / total if total > 0 else torch.full_like(found, 1 / len(found))


def tokens_of(span: Piece, tokens: Sequence[str]) -> list[int]:
    """The numbers of the output tokens that a span is.

    Raises:
        ValueError: if it has none, or the output has no such.
    """
    return _spelled(span, tokens) if isinstance(span, str) else numbers_of("span", span, len(tokens))


def _spelled(text: str, tokens: Sequence[str]) -> list[int]:
    """The last tokens that spell a text, white space aside; the fewest that have all of it."""
    wanted = "".join(text.split())
    letters = [(letter, i) for i, token in enumerate(tokens) for letter in token if not letter.isspace()]
    place = "".join(letter for letter, _ in letters).rfind(wanted) if wanted else -1
    if place < 0:
        raise ValueError(
            f"span is a text that the output does not have, got {text!r}: it is {' '.join(tokens)!r:.200}."
        )
    owners = [i for _, i in letters[place : place + len(wanted)]]
    return list(range(owners[0], owners[-1] + 1))
