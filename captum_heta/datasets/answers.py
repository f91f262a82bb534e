"""Which drafts of examples a model answers: what a data set that is made for this model keeps.

torch takes seconds, which the help of the command line does without: it is imported when something is asked.
"""

from collections.abc import Callable
from typing import Any

from captum_heta.checks import check_count
from captum_heta.datasets.example import Example
from captum_heta.tokenizers import Tokenizer

TRIES = 50  # drafts for each example that is asked for
PATIENCE = 200  # drafts after which a model that answered none is asked no more


class UnansweredError(ValueError):
    """A model answers too little of a data set."""


def only_token(text: str, prompt: str, tokenizer: Tokenizer) -> int | None:
    """The one token that ``text`` is behind ``prompt``; None if it is several, or one that stands for another text."""
    from captum_heta.inputs import LocatedInput, TextInput
    from captum_heta.inputs.target import target_ids

    ids = target_ids(text, LocatedInput(TextInput(prompt, tokenizer), tokenizer), None).tolist()
    return ids[0] if len(ids) == 1 and tokenizer.decode(ids).strip() == text.strip() else None


def is_written(word: str, tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer has tokens for a word, and none of them stands for something unknown."""
    ids = tokenizer.encode(f" {word}", add_special_tokens=False)
    return tokenizer.decode(ids).strip() == word


def collected(
    draft: Callable[[int], Example],
    n: int,
    *,
    model: Any | None,
    tokenizer: Tokenizer | None,
    counterfactual: bool,
) -> list[Example]:
    """The first ``n`` drafts that are answered.

    Args:
        draft: the draft of a number, from 0 on.
        n: how many.
        model: a causal language model. Drafts are kept whose target is one token and the one it finds likeliest; None
            to keep all.
        tokenizer: of the model.
        counterfactual: whether the same must hold for the counterfactual and its target.

    Raises:
        UnansweredError: if fewer than ``n`` of `TRIES` times as many drafts are kept, or none of the first `PATIENCE`.
        ValueError: if ``n`` is no such number, and for a model without a tokenizer.
    """
    n = check_count("n", n)
    if model is None:
        return [draft(number) for number in range(n)]
    if tokenizer is None:
        raise ValueError("A model answers in the tokens of its tokenizer: pass tokenizer too.")
    from captum_heta.models import LanguageModel

    lm = LanguageModel(model)
    kept: list[Example] = []
    answered = tried = 0
    while len(kept) < n and tried < TRIES * n and (kept or tried < PATIENCE):
        example = draft(tried)
        tried += 1
        if not _predicted(example.prompt, example.target, lm, tokenizer):
            continue
        answered += 1
        if not counterfactual or _predicted(example.counterfactual, example.counterfactual_target, lm, tokenizer):
            kept.append(example)
    if len(kept) < n:
        flips = f", and its answer follows another value in {len(kept)}" if counterfactual else ""
        raise UnansweredError(
            f"{type(lm.model).__name__} answers {answered} of the {tried} prompts that were tried{flips}; n is {n}: "
            "ask for fewer or easier ones, or use a model that answers more."
        )
    return kept


def _predicted(prompt: str | None, target: str | None, lm: Any, tokenizer: Tokenizer) -> bool:
    """Whether the likeliest token behind a prompt is its target, whole."""
    from captum_heta.inputs import LocatedInput, TextInput
    from captum_heta.inputs.target import next_token

    if prompt is None or target is None:
        return False
    wanted = only_token(target, prompt, tokenizer)
    if wanted is None:
        return False
    return int(next_token(LocatedInput(TextInput(prompt, tokenizer), tokenizer), lm)) == wanted
