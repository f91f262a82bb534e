"""The tokens of a rendered prompt and their characters, white space included; and an input made of token ids."""

from collections.abc import Sequence
from typing import Any

import torch
from captum.attr import TextTokenInput

from captum_heta.text import NO_OFFSETS, Span, offsets


class TokenIdsInput(TextTokenInput):
    """Captum's `TextTokenInput` of token ids, whose constructor would encode text, perhaps to other tokens.

    Args:
        ids: of all tokens.
        kept: which of them are features.
        tokenizer: theirs.
        baselines: the token that Captum's perturbation methods put in a feature's place, an id or its text.
        skip_tokens: ids of the tokens that are no features wherever they are, if there are such.
    """

    def __init__(
        self,
        ids: Sequence[int],
        kept: Sequence[bool],
        tokenizer: Any,
        baselines: int | str = 0,
        skip_tokens: list[int] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.inp_tensor = torch.tensor([list(ids)], dtype=torch.long, device="cpu")
        self.itp_mask = torch.tensor([list(kept)], dtype=torch.bool, device="cpu")
        self.itp_tensor = self.inp_tensor[self.itp_mask][None]
        self.skip_tokens = skip_tokens
        self.values = tokenizer.convert_ids_to_tokens(self.itp_tensor[0].tolist())
        self.n_itp_features = len(self.values)
        self.baselines = tokenizer.convert_tokens_to_ids([baselines])[0] if isinstance(baselines, str) else baselines


def encoded(text: str, tokenizer: Any) -> tuple[list[int], list[Span]]:
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
