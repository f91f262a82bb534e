"""How well embedded models do on what they were not trained on."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from captum_heta.demo.two_steps import chain
from captum_heta.demo.world import example


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
    for index in range(count):
        item = example(seed, index)
        (answer,), (logits,) = _continued(model, tokenizer, item.prompt, [item.target or ""])
        right += torch.equal(logits.argmax(-1), answer)
        probability += _probability(logits, answer)
    return Answers(right / count, probability / count)


@torch.no_grad()
def held_out_chains(model: PreTrainedModel, tokenizer: Any, count: int, seed: int) -> Chains:
    """Of the chains, how many are answered, and how often the answer follows the reasoning if that is exchanged."""
    whole = first = second = followed = asked = 0
    probability = 0.0
    for index in range(count):
        item = chain(seed, index)
        # of one length, as every name and every place is one token
        outputs = [item.reasoning + item.answer, *(f" {name}. {place}" for name, place in item.others)]
        expected, logits = _continued(model, tokenizer, item.prompt, outputs)
        right = logits.argmax(-1) == expected
        whole, first, second = whole + int(right[0].all()), first + int(right[0, 0]), second + int(right[0, -1])
        probability += _probability(logits[0, [0, -1]], expected[0, [0, -1]])
        followed, asked = followed + int(right[1:, -1].sum()), asked + len(item.others)
    return Chains(whole / count, first / count, second / count, followed / asked, probability / count)


def _continued(model: PreTrainedModel, tokenizer: Any, prompt: str, outputs: list[str]) -> tuple[Tensor, Tensor]:
    """The tokens of O outputs of one length, (O, K), and the logits that predict them behind the prompt, (O, K, V)."""
    ids = tokenizer.encode(prompt)
    expected = torch.tensor([tokenizer.encode(output, add_special_tokens=False) for output in outputs])
    rows = torch.cat([torch.tensor(ids).expand(len(outputs), -1), expected], dim=1)
    return expected, model(rows).logits[:, len(ids) - 1 : -1]


def _probability(logits: Tensor, answer: Tensor) -> float:
    return float(logits.softmax(-1).gather(1, answer[:, None]).prod())
