"""One example as a model sees it: its tokens, the output that is explained, and where the evidence is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from captum_heta.datasets import Example
from captum_heta.features import Features
from captum_heta.inputs import LocatedInput, TextInput
from captum_heta.inputs.offsets import token_spans
from captum_heta.inputs.target import next_token, target_ids
from captum_heta.models import LanguageModel
from captum_heta.spans import Span


class UnfitError(Exception):
    """Why an example has no place in a benchmark."""


@dataclass(frozen=True, eq=False)
class Case:
    """An example for one model. B is 1, n its tokens, F those of them that are no special tokens.

    Attributes:
        example: with its prompt as it was cut.
        inp: the prompt for Captum, with the characters of its F features.
        output: (1,), the explained token id: the onset of the target, or what the model predicts.
        evidence: (F,) bool.
        distractors: (F,) bool.
        passage: (F,) bool; no True where the example does not say what the passage is.
    """

    example: Example
    inp: TextInput
    output: Tensor
    evidence: Tensor
    distractors: Tensor
    passage: Tensor

    @property
    def spans(self) -> list[Span]:
        """The characters [start, end) of each feature, F of them."""
        return self.inp.spans

    @property
    def fixed(self) -> Tensor:
        """(1, n) bool, the special tokens, which are no features."""
        return ~self.inp.itp_mask

    @property
    def ids(self) -> Tensor:
        """(1, n)."""
        return self.inp.inp_tensor

    def spread(self, scores: Tensor) -> Tensor:
        """Scores of the features (F,) as those of all tokens (1, n), 0 for special ones."""
        found = torch.zeros(self.fixed.shape, dtype=torch.float64, device="cpu")
        found[~self.fixed] = scores.detach().double().cpu()
        return found


def case_of(
    item: Example,
    tokenizer: Any,
    lm: LanguageModel,
    most: int | None,
    bos: bool = False,
    answered: bool = False,
) -> Case:
    """The case of an example.

    Args:
        item: the example.
        tokenizer: of the model.
        lm: the model; what it predicts is explained if the example has no target.
        most: longer prompts lose tokens at their start, so that the question and the answer's cue stay.
        bos: put the tokenizer's beginning-of-text token before the prompt.
        answered: leave the example out if the model predicts something else than its target.

    Raises:
        UnfitError: if the prompt or its target is no text or has no token, the cut goes into the evidence, or it is not
            ``answered``.
    """
    _check_text("prompt", item.prompt)
    _check_text("target", item.target)
    item = _cut(item, tokenizer, None if most is None else most - bos)
    if bos:
        token = tokenizer.bos_token
        others = [None if text is None else token + text for text in (item.paraphrase, item.counterfactual)]
        moved = _moved(item, -len(token), token + item.prompt)
        item = replace(moved, paraphrase=others[0], counterfactual=others[1])
    inp = TextInput(item.prompt, tokenizer)
    if not inp.spans:
        raise UnfitError("its prompt has no token")
    prompt = LocatedInput(inp, tokenizer)
    if item.target is None:
        output = int(next_token(prompt, lm))
    else:
        if not item.target:
            raise UnfitError(f"its target {item.target!r} has no token")
        output = int(target_ids(item.target, prompt, lm)[0])
        if answered and int(next_token(prompt, lm)) != output:
            raise UnfitError("the model does not predict its target")
    masks = (*evidence_masks(item, inp.spans), passage_mask(item, inp.spans))
    return Case(item, inp, torch.tensor([output], device="cpu"), *masks)


def evidence_masks(item: Example, spans: Sequence[Span]) -> tuple[Tensor, Tensor]:
    """Which features lie in the evidence and which in the distractors, each (F,) bool.

    Args:
        item: the example.
        spans: the characters [start, end) of each feature in its prompt; one on a border goes where most of it lies.
    """
    evidence, distractors = _marked([item.evidence, item.distractors], spans)
    return evidence, distractors


def passage_mask(item: Example, spans: Sequence[Span]) -> Tensor:
    """Which features lie in the passage, at least in part, (F,) bool; arguments as in `evidence_masks`."""
    return _marked([item.passage], spans)[0]


def _marked(parts: Sequence[Sequence[Span]], spans: Sequence[Span]) -> Tensor:
    """Which features lie in each of some parts of the prompt that do not overlap, (parts, F) bool."""
    marked = torch.zeros(len(parts), len(spans), dtype=torch.bool, device="cpu")
    for row, group in zip(marked, Features.of_spans(parts, spans).groups, strict=True):
        row[list(group)] = True
    return marked


def _check_text(name: str, text: str | None) -> None:
    """Tokenizers take no halves of characters, which JSON and UTF-16 files that were cut may have."""
    try:
        (text or "").encode("utf-8")
    except UnicodeEncodeError as error:
        raise UnfitError(f"its {name} has half a character, {error.object[error.start]!r} at {error.start}") from error


def _cut(item: Example, tokenizer: Any, most: int | None) -> Example:
    """The example with as much of the end of its prompt as has ``most`` tokens."""
    prompt, start = item.prompt, 0
    while most is not None:
        _, spans = token_spans(prompt[start:], tokenizer)
        excess = len(spans) - most
        if excess <= 0:
            break
        visible = [first for first, last in spans if last > first]
        if excess >= len(visible):
            raise UnfitError(f"its prompt does not fit {most} tokens")
        start += visible[excess] or 1
    if start == 0:
        return item
    if any(first < start for first, _ in item.evidence):
        raise UnfitError(f"its evidence is not in the last {most} tokens of its prompt")
    # where the counterfactual would have to be cut is not known
    return replace(_moved(item, start, prompt[start:]), counterfactual=None, counterfactual_target=None)


def _moved(item: Example, start: int, prompt: str) -> Example:
    """The example with a prompt that begins ``start`` characters later, or earlier."""

    def moved(spans: Sequence[Span]) -> tuple[Span, ...]:
        return tuple((max(first - start, 0), last - start) for first, last in spans if last > start)

    return replace(
        item,
        prompt=prompt,
        evidence=moved(item.evidence),
        distractors=moved(item.distractors),
        passage=moved(item.passage),
    )
