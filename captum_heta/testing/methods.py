"""Each of the other methods as its paper reads: one text at a time, nothing cached, transformers' own outputs.

The oracle of the tests. Functions take a transformers model in eval mode, a prompt's token ids (n,), and one output
token that follows it; they return scores (n,).
"""

import math
from typing import Any

import torch
from torch import Tensor

from captum_heta.attr.reagent import Replacer


@torch.no_grad()
def next_probs(model: Any, ids: Tensor) -> Tensor:
    """P(next token | ids), (V,)."""
    return model(input_ids=ids[None], use_cache=False).logits[0, -1].softmax(-1)


@torch.no_grad()
def naive_normxlogit(model: Any, ids: Tensor, output: int, norm: Any = None, layer: int = -1) -> Tensor:
    """With the model's last hidden states, to which transformers has applied the final norm; or a layer's own."""
    states = model(input_ids=ids[None], output_hidden_states=True).hidden_states[layer][0]
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    scores = []
    for token, state in zip(ids, states, strict=True):
        logit = head(state if norm is None else norm(state))[output]
        scores.append(embeddings(token).square().sum().sqrt() * logit)
    return torch.stack(scores)


@torch.no_grad()
def naive_rollout(model: Any, ids: Tensor) -> Tensor:
    """The last row of the product of all layers' matrices; of a model with eager attention."""
    attentions = model(input_ids=ids[None], output_attentions=True).attentions
    product = torch.eye(len(ids), dtype=attentions[0].dtype)
    for attention in attentions:
        product = (attention[0].mean(0) + torch.eye(len(ids))) / 2 @ product
    return product[-1]


@torch.no_grad()
def naive_last_attention(model: Any, ids: Tensor) -> Tensor:
    """The last row of the last layer's mean attention; of a model with eager attention."""
    return model(input_ids=ids[None], output_attentions=True).attentions[-1][0].mean(0)[-1]


def naive_tdd(model: Any, ids: Tensor, output: int, alternatives: list[int], direction: str, before: Tensor) -> Tensor:
    """By a run of every prefix and every suffix; ``before`` are the outputs between the prompt and this one."""
    text = torch.cat([ids, before])

    def r(part: Tensor) -> float:
        if len(part) == 0:
            return 0.0
        probs = next_probs(model, part)
        return float(probs[output] - sum(probs[other] for other in alternatives))

    scores = [0.0] * len(ids)
    for i in range(len(ids)):
        if direction in ("forward", "bidirectional"):
            scores[i] += r(text[: i + 1]) - r(text[:i])
        if direction in ("backward", "bidirectional"):
            scores[i] += r(text[i:]) - r(text[i + 1 :])
    return torch.tensor(scores, dtype=torch.float64)


@torch.no_grad()
def naive_peering(model: Any, ids: Tensor, output: int, layer: int) -> Tensor:
    """Cosines of one hidden state with each of the prompt's."""
    text = torch.cat([ids, torch.tensor([output])])
    states = model(input_ids=text[None], output_hidden_states=True).hidden_states[layer][0]
    return torch.stack([torch.cosine_similarity(states[-1], states[i], dim=0) for i in range(len(ids))])


def naive_log_odds(model: Any, ids: Tensor, outputs: list[int]) -> float:
    """The log-odds of an answer, a pass for each of its tokens."""
    p = 1.0
    for output in outputs:
        p *= float(next_probs(model, ids)[output])
        ids = torch.cat([ids, torch.tensor([output])])
    return math.log(p / (1 - p))


def naive_reagent(
    model: Any,
    ids: Tensor,
    output: int,
    replacer: Replacer,
    seed: int,
    max_steps: int,
    replace_ratio: float,
    keep_ratio: float,
    top_k: int,
) -> tuple[Tensor, int]:
    """One probe with single tokens as features, and the steps it took."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    n = len(ids)
    score = torch.rand(1, n, generator=generator, dtype=torch.float64)[0]
    p = next_probs(model, ids)[output]
    for step in range(1, max_steps + 1):  # noqa: B007
        order = torch.rand(1, n, generator=generator).argsort(-1)[0]
        replaced = [int(order[i]) < max(1, round(replace_ratio * n)) for i in range(n)]
        changed = replacer(ids[None], torch.tensor([replaced]), generator)[0]
        fall = (p - next_probs(model, changed)[output]) / 2 + 0.5
        for i in range(n):
            score[i] += torch.logit(fall) if replaced[i] else -torch.logit(fall)
        important = sorted(range(n), key=lambda i: -score[i])[: max(1, round(keep_ratio * n))]
        others = torch.tensor([[i not in important for i in range(n)]])
        left = next_probs(model, replacer(ids[None], others, generator)[0])
        if int((left > left[output]).sum()) < top_k:
            break
    return score.softmax(-1), step
