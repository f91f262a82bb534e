"""How well embedded models do on what they were not trained on."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from captum_heta.demo.two_steps import chain
from captum_heta.demo.world import example
from captum_heta.models.names import ArgumentNames

TOGETHER = 32  # prompts in a pass


class Answers(NamedTuple):
    """Share of examples whose answer is the greedy continuation, and the mean probability of the answer."""

    accuracy: float
    confidence: float


class Chains(NamedTuple):
    """Of chains: the shares of those that are right, and the mean probability of both words.

    Attributes:
        accuracy: whose greedy continuation is the reasoning and the answer.
        first: whose person is likeliest behind the prompt.
        second: whose place is likeliest behind the right person.
        followed: of all chains and other people in them, whose place is likeliest behind that other person: the share
            in which a model reads the place where it was told to, and not by the question.
        confidence: the mean of the probability of the person times that of the place.
    """

    accuracy: float
    first: float
    second: float
    followed: float
    confidence: float


@torch.no_grad()
def held_out(model: PreTrainedModel, tokenizer: Any, count: int, seed: int) -> Answers:
    """Of the examples of one question, how many are answered."""
    right, probability = 0, 0.0
    items = [example(seed, index) for index in range(count)]
    for (answer,), (logits,) in _continued(model, tokenizer, [(item.prompt, [item.target or ""]) for item in items]):
        right += torch.equal(logits.argmax(-1), answer)
        probability += _probability(logits, answer)
    return Answers(right / count, probability / count)


@torch.no_grad()
def held_out_chains(model: PreTrainedModel, tokenizer: Any, count: int, seed: int) -> Chains:
    """Of the chains, how many are answered, and how often the answer follows the reasoning if that is exchanged."""
    whole = first = second = followed = asked = 0
    probability = 0.0
    items = [chain(seed, index) for index in range(count)]
    # of one length, as every name and every place is one token
    outputs = [[item.reasoning + item.answer, *(f" {name}. {place}" for name, place in item.others)] for item in items]
    prompts = [item.prompt for item in items]
    for expected, logits in _continued(model, tokenizer, list(zip(prompts, outputs, strict=True))):
        right = logits.argmax(-1) == expected
        whole, first, second = whole + int(right[0].all()), first + int(right[0, 0]), second + int(right[0, -1])
        probability += _probability(logits[0, [0, -1]], expected[0, [0, -1]])
        followed, asked = followed + int(right[1:, -1].sum()), asked + len(right) - 1
    return Chains(whole / count, first / count, second / count, followed / asked, probability / count)


def _continued(
    model: PreTrainedModel, tokenizer: Any, asked: Sequence[tuple[str, list[str]]]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each prompt with its O outputs of one length, in whatever order.

    Prompts of one length go through the model together, and once for all of their outputs.

    Yields:
        The tokens of the outputs, (O, K), and the logits that predict them behind the prompt, (O, K, V).
    """
    alike: dict[tuple[int, ...], list[tuple[list[int], Tensor]]] = {}
    for prompt, outputs in asked:
        ids = tokenizer.encode(prompt)
        expected = torch.tensor([tokenizer.encode(output, add_special_tokens=False) for output in outputs])
        alike.setdefault((len(ids), *expected.shape), []).append((ids, expected))
    for group in alike.values():
        for start in range(0, len(group), TOGETHER):
            ids_of, expected_of = zip(*group[start : start + TOGETHER], strict=True)
            logits = _behind(model, torch.tensor(ids_of), torch.stack(expected_of))
            yield from zip(expected_of, logits, strict=True)


def _behind(model: PreTrainedModel, prompts: Tensor, outputs: Tensor) -> Tensor:
    """The logits that predict outputs (N, O, K) behind prompts (N, n), (N, O, K, V)."""
    names, cache = ArgumentNames(model), DynamicCache()
    logits = model(prompts, **names.given(1, cache)).logits[:, None].expand(-1, outputs.shape[1], -1, -1)
    if outputs.shape[2] == 1:
        return logits
    cache.batch_repeat_interleave(outputs.shape[1])
    more = model(outputs[..., :-1].flatten(0, 1), **names.given(None, cache)).logits
    return torch.cat([logits, more.unflatten(0, outputs.shape[:2])], dim=2)


def _probability(logits: Tensor, answer: Tensor) -> float:
    return float(logits.softmax(-1).gather(1, answer[:, None]).prod())
