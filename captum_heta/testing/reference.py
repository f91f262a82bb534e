"""Each term of HETA as its definition reads: one product, one masked pass, one path at a time, nothing cached.

The oracle of the tests and the yardstick of the speed benchmark. Functions take a transformers model in eval mode.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from captum_heta.models import AttentionLayer


def all_logits(model: Any, embeds: Tensor) -> Tensor:
    """The logits (n, V) at every position for X (n, d)."""
    with sdpa_kernel(SDPBackend.MATH):  # the one kernel with second derivatives
        return model(inputs_embeds=embeds[None], use_cache=False).logits[0]


def log_prob(model: Any, embeds: Tensor, target: int, contrast: int | None = None) -> Tensor:
    """f(X) = log P(target | X), X (n, d); with a contrast, less log P(contrast | X)."""
    log_probs = all_logits(model, embeds)[-1].log_softmax(-1)
    return log_probs[target] if contrast is None else log_probs[target] - log_probs[contrast]


def dense_hessian_entering(model: Any, layer: nn.Module, embeds: Tensor, target: int) -> Tensor:
    """The Hessian (n, d, n, d) of f with respect to the hidden states (n, d) that enter a layer."""
    seen = []
    handle = layer.register_forward_pre_hook(
        lambda _, given, named: seen.append(hidden(given, named)), with_kwargs=True
    )

    def hidden(given: Any, named: Any) -> Tensor:
        return given[0] if given else named["hidden_states"]

    log_prob(model, embeds, target)
    handle.remove()

    def from_layer(states: Tensor) -> Tensor:
        def give(module: nn.Module, given: Any, named: Any) -> Any:
            if given:
                return (states[None], *given[1:]), named
            return given, {**named, "hidden_states": states[None]}

        handle = layer.register_forward_pre_hook(give, with_kwargs=True)
        value = log_prob(model, embeds, target)
        handle.remove()
        return value

    return torch.autograd.functional.hessian(from_layer, seen[0][0].detach(), vectorize=True)


def dense_hessian(model: Any, embeds: Tensor, target: int, contrast: int | None = None) -> Tensor:
    """H, (n, d, n, d)."""
    return torch.autograd.functional.hessian(lambda x: log_prob(model, x, target, contrast), embeds, vectorize=True)


def dense_choice(model: Any, embeds: Tensor, target: int, contrast: int) -> Tensor:
    """The Fisher matrix of the choice between two tokens, by its definition: E over the choice of score score^T."""
    log_probs = all_logits(model, embeds)[-1].log_softmax(-1)
    either = torch.stack([log_probs[target], log_probs[contrast]])

    def choice(x: Tensor) -> Tensor:
        return torch.stack([log_prob(model, x, target), log_prob(model, x, contrast)]).log_softmax(-1)

    scores = torch.autograd.functional.jacobian(choice, embeds)
    return torch.einsum("c,cid,cje->idje", either.softmax(-1), scores, scores)


def dense_fisher(model: Any, embeds: Tensor) -> Tensor:
    """J^T (diag(p) - p p^T) J for the logits at the last position, (n, d, n, d)."""
    jacobian = torch.autograd.functional.jacobian(lambda x: all_logits(model, x)[-1], embeds)
    p = all_logits(model, embeds)[-1].softmax(-1)
    return torch.einsum("vid,vw,wje->idje", jacobian, p.diag() - torch.outer(p, p), jacobian)


def dense_curvature(matrix: Tensor, groups: Sequence[Sequence[int]], probes: Tensor) -> Tensor:
    """S from a whole matrix (n, d, n, d) and probes (R, n, d): mean over r of norm1(P_i H P_i r), (F,)."""
    scores = []
    for group in groups:
        keep = torch.zeros_like(probes[0])
        keep[list(group)] = 1.0
        norms = [(keep * torch.einsum("idje,je->id", matrix, keep * r)).abs().sum() for r in probes]
        scores.append(torch.stack(norms).mean())
    return torch.stack(scores)


def naive_curvature(model: Any, embeds: Tensor, target: int, groups: Sequence[Sequence[int]], probes: Tensor) -> Tensor:
    """S with a new graph of the whole sequence for every product, (F,)."""
    scores = []
    for group in groups:
        norms = []
        for r in probes:
            x = embeds.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(log_prob(model, x, target), x, create_graph=True)
            keep = torch.zeros_like(r)
            keep[list(group)] = 1.0
            (product,) = torch.autograd.grad(gradient, x, keep * r)
            norms.append((keep * product).abs().sum())
        scores.append(torch.stack(norms).mean())
    return torch.stack(scores)


@torch.no_grad()
def naive_falls(
    model: Any,
    embeds: Tensor,
    outputs: Sequence[int],
    groups: Sequence[Sequence[int]],
    masked: Tensor,
    contrast: Sequence[int] | None = None,
) -> Tensor:
    """D with its sign, f(X) - f(X with a group masked), by one pass of its own for every feature and output, (K, F)."""
    count = len(outputs)
    rows = []
    for k, output in enumerate(outputs):
        seen = len(embeds) - count + k + 1  # what the model has read when it predicts this output
        other = None if contrast is None else contrast[k]
        original = log_prob(model, embeds[:seen], output, other)
        falls = []
        for group in groups:
            x = embeds.clone()
            for token in group:
                x[token] = masked[token]
            falls.append(original - log_prob(model, x[:seen], output, other))
        rows.append(torch.stack(falls))
    return torch.stack(rows)


def naive_squared_gradient(
    model: Any, embeds: Tensor, target: int, groups: Sequence[Sequence[int]], contrast: int | None = None
) -> Tensor:
    """norm2(P_i d f / d X)^2, (F,)."""
    x = embeds.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(log_prob(model, x, target, contrast), x)
    return torch.stack([gradient[list(group)].square().sum() for group in groups])


@torch.no_grad()
def naive_information(
    model: Any, embeds: Tensor, n_outputs: int, groups: Sequence[Sequence[int]], masked: Tensor
) -> Tensor:
    """I with one pass over the whole sequence for every feature, (K, F)."""
    original = all_logits(model, embeds)[-n_outputs:].log_softmax(-1)
    columns = []
    for group in groups:
        x = embeds.clone()
        for token in group:
            x[token] = masked[token]
        changed = all_logits(model, x)[-n_outputs:].log_softmax(-1)
        columns.append((original.exp() * (original - changed)).sum(-1))
    return torch.stack(columns, dim=1)


def whole_attention(layer: AttentionLayer) -> Tensor:
    """A, (H, T, T)."""
    length = layer.length
    rows = [torch.nn.functional.pad(part, (0, length - part.shape[-1])) for _, part in layer.weights()]
    return torch.cat(rows, dim=1)


def naive_semantic_flow(layers: Sequence[AttentionLayer], target: int, mixers: Sequence[Tensor]) -> Tensor:
    """M by a loop over layers, heads and positions, (T,).

    Args:
        layers: the attention of each layer, the first layer first.
        target: the target position.
        mixers: W_O of each layer, (H * head size, d).
    """
    length = layers[0].length
    rho = [1.0 if position == target else 0.0 for position in range(length)]
    flow = [0.0] * length
    for layer, mixer in reversed(list(zip(layers, mixers, strict=True))):
        size = layer.values.shape[-1]
        heads = len(mixer) // size
        attention = whole_attention(layer)
        passed = [0.0] * length
        for head in range(heads):
            shared = head * layer.values.shape[0] // heads
            for position in range(length):
                phi = sum(rho[t] * attention[head, t, position].item() for t in range(length))
                carried = layer.values[shared, position] @ mixer[head * size : (head + 1) * size]
                flow[position] += phi * carried.abs().sum().item()
                passed[position] += phi / heads
        rho = [(kept + came) / 2 for kept, came in zip(rho, passed, strict=True)]
    return torch.tensor(flow, dtype=torch.float64) / sum(flow)


def naive_flow_routes(
    streams: Sequence[Tensor], sums: Sequence[Tensor], parts: Sequence[Tensor], target: int, threshold: float
) -> Tensor:
    """What arrives at each token by information flow routes, one route after the other, (T,).

    Args:
        streams: as in `naive_contribution_flow`.
        sums: as there.
        parts: as there.
        target: the target position.
        threshold: edges above it are followed; where there is none, the residual stream is.
    """
    scores = torch.zeros(len(streams[0]), dtype=torch.float64)

    def follow(layer: int, t: int, weight: float) -> None:
        if layer < 0:
            scores[t] += weight
            return
        y = sums[layer][t]

        def proximity(part: Tensor) -> float:
            return max(0.0, (y.abs().sum() - (y - part).abs().sum()).item())

        edges = [(t, proximity(streams[layer][t]))]
        for i in range(len(streams[0])):
            edges.append((i, sum(proximity(head[t, i]) for head in parts[layer])))
        total = sum(edge for _, edge in edges)
        kept = [(token, edge) for token, edge in edges if edge / total > threshold] or edges[:1]
        left = sum(edge for _, edge in kept)
        for token, edge in kept:
            follow(layer - 1, token, weight * edge / left)

    follow(len(streams) - 1, target, 1.0)
    return scores


def naive_contribution_flow(
    streams: Sequence[Tensor], sums: Sequence[Tensor], parts: Sequence[Tensor], target: int
) -> Tensor:
    """G by a loop over layers, queries, heads and keys, (T,).

    Args:
        streams: x of each layer, (T, d), the first layer first; times its factor.
        sums: y, the stream after its attention, (T, d).
        parts: what each token adds to each sum by each head, (H, T, T, d).
        target: the target position.
    """
    length = len(streams[0])
    rho = [1.0 if position == target else 0.0 for position in range(length)]
    for stream, total, added in reversed(list(zip(streams, sums, parts, strict=True))):

        def proximity(part: Tensor, y: Tensor) -> float:
            return max(0.0, (y.abs().sum() - (y - part).abs().sum()).item())

        below = [0.0] * length
        for t in range(length):
            edges = [sum(proximity(head[t, i], total[t]) for head in added) for i in range(length)]
            kept = proximity(stream[t], total[t])
            z = sum(edges) + kept
            for i in range(length):
                below[i] += rho[t] * edges[i] / z
            below[t] += rho[t] * kept / z
        rho = below
    return torch.tensor(rho, dtype=torch.float64)


def naive_published_flow(
    attentions: Sequence[Tensor],
    states: Sequence[Tensor],
    values: Sequence[Tensor],
    outputs: Sequence[Tensor],
    target: int,
) -> Tensor:
    """M as the code that HETA's authors published has it, by whole matrices from the bottom, (T,).

    Args:
        attentions: A of each layer, (H, T, T), the first layer first.
        states: what enters each layer, (T, d).
        values: W_V of each layer, (d, v), whose columns are cut into H pieces; empty where all norms are 1.
        outputs: W_O of each layer, (inputs, d), whose first v rows are cut likewise.
        target: the target position.
    """
    heads, length = attentions[0].shape[:2]
    flow = torch.zeros(length, dtype=torch.float64)
    for head in range(heads):
        product = torch.eye(length, dtype=torch.float64)
        for layer, attention in enumerate(attentions):
            mixed = (attention[head].double() + torch.eye(length)) / 2
            for t in range(length):
                mixed[t] /= mixed[t].sum()
            product = mixed @ product
            for i in range(length):
                norm = 1.0
                if values:
                    size = values[layer].shape[1] // heads
                    some = slice(head * size, (head + 1) * size)
                    norm = (states[layer][i] @ values[layer][:, some] @ outputs[layer][some]).abs().sum().item()
                flow[i] += product[target, i] * norm
    return flow / flow.sum()
