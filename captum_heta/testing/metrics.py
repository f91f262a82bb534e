"""Metrics as their definitions read: every order of a tie, one masked prompt and one token of the answer at a time.

The oracle of the tests. Functions of a model take one of transformers in eval mode, and a prompt's token ids (n,).
"""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def naive_average_precision(scores: Sequence[float], evidence: Sequence[bool]) -> float:
    """The mean over all orders of the features in which scores do not rise, by trying all orders there are."""
    values = []
    for order in itertools.permutations(range(len(scores))):
        if any(abs(scores[a]) < abs(scores[b]) for a, b in itertools.pairwise(order)):
            continue
        hits = [evidence[i] for i in order]
        values.append(sum(sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits) if hit) / sum(hits))
    return sum(values) / len(values)


@torch.no_grad()
def naive_answer_log_prob(
    model: Any, ids: Tensor, answer: Sequence[int], masked: Sequence[int], baselines: Tensor
) -> float:
    """The log-probability of an answer, a pass for each of its tokens; ``baselines`` (n, d) mask tokens."""
    table = model.get_input_embeddings()
    embeds = table(ids).clone()
    for token in masked:
        embeds[token] = baselines[token]
    total = 0.0
    for output in answer:
        logits = model(inputs_embeds=embeds[None], use_cache=False).logits[0, -1]
        total += float(logits.double().log_softmax(-1)[output])
        embeds = torch.cat([embeds, table(torch.tensor([output]))])
    return total


def naive_deletion(
    model: Any, ids: Tensor, answer: Sequence[int], groups: Sequence[Sequence[int]], baselines: Tensor
) -> float:
    """The area of `captum_heta.metrics.deletion` with groups of tokens masked in their order, by trapezoids."""
    taken = [[token for group in groups[:count] for token in group] for count in range(len(groups) + 1)]
    values = [naive_answer_log_prob(model, ids, answer, tokens, baselines) for tokens in taken]
    heights = [(value - values[-1]) / (values[0] - values[-1]) for value in values]
    return sum((left + right) / 2 / len(groups) for left, right in itertools.pairwise(heights))


def naive_insertion(
    model: Any, ids: Tensor, answer: Sequence[int], groups: Sequence[Sequence[int]], baselines: Tensor
) -> float:
    """The area of `captum_heta.metrics.insertion` with groups of tokens revealed in their order."""
    left = [[token for group in groups[count:] for token in group] for count in range(len(groups) + 1)]
    values = [naive_answer_log_prob(model, ids, answer, tokens, baselines) for tokens in left]
    heights = [(value - values[0]) / (values[-1] - values[0]) for value in values]
    return sum((left + right) / 2 / len(groups) for left, right in itertools.pairwise(heights))


def naive_falls(
    model: Any, ids: Tensor, answer: Sequence[int], groups: Sequence[Sequence[int]], baselines: Tensor
) -> list[float]:
    """How far the answer's log-probability falls when each group of tokens alone is masked."""
    whole = naive_answer_log_prob(model, ids, answer, [], baselines)
    return [whole - naive_answer_log_prob(model, ids, answer, group, baselines) for group in groups]
