"""AttnLRP as its paper reads: relevance handed down step by step, z-rule by z-rule, with no gradient at all.

The oracle of the tests, on models written out by hand from their weights. Each step gives its output, and a function
from the relevance of that output to the relevance of its input. What is left on the way is counted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Back = Callable[[Tensor], Tensor]


@dataclass
class Kept:
    """Relevance that does not arrive at the tokens.

    Attributes:
        biases: what biases and embeddings of positions have.
        softmax: what the first term of a softmax's Taylor series leaves out.
    """

    biases: float = 0.0
    softmax: float = 0.0


@torch.no_grad()
def naive_relevance(model: Any, ids: Tensor, output: int, explained: str = "log_prob") -> tuple[Tensor, Kept, Tensor]:
    """The relevance (n,) of a prompt's tokens (n,) for a token that follows it; what is kept; and the logits (V,)."""
    kept = Kept()
    forward = _gpt2 if model.config.model_type == "gpt2" else _llama
    logits, back = forward(model, ids, kept)
    one_hot = torch.nn.functional.one_hot(torch.tensor(output), len(logits)).to(logits)
    start = one_hot if explained == "logit" else one_hot - logits.softmax(-1)
    return back(logits * start), kept, logits


def _llama(model: Any, ids: Tensor, kept: Kept) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Llama and Qwen 2."""
    body, config, backs = model.model, model.config, []
    state = body.embed_tokens.weight[ids]
    turn = _rotation(len(ids), config.hidden_size // config.num_attention_heads, config.rope_parameters["rope_theta"])
    for layer in body.layers:
        attention, mlp = layer.self_attn, layer.mlp

        def attend(x: Tensor, attention: Any = attention) -> tuple[Tensor, Back]:
            parts = [_linear(x, one.weight, one.bias, kept) for one in _projections(attention)]
            (_, back_q), (_, back_k), (_, back_v) = parts
            q, k, v = (one.unflatten(-1, (-1, attention.head_dim)).transpose(0, 1) for one, _ in parts)
            mixed, back = _attention(q, k, v, kept, turn)
            given, back_o = _linear(mixed, attention.o_proj.weight, attention.o_proj.bias, kept)

            def down(relevance: Tensor) -> Tensor:
                of_q, of_k, of_v = back(back_o(relevance))
                return back_q(of_q) + back_k(of_k) + back_v(of_v)

            return given, down

        def think(x: Tensor, mlp: Any = mlp) -> tuple[Tensor, Back]:
            gate, back_gate = _linear(x, mlp.gate_proj.weight, None, kept)
            up, back_up = _linear(x, mlp.up_proj.weight, None, kept)
            made, back = _linear(torch.nn.functional.silu(gate) * up, mlp.down_proj.weight, None, kept)

            def down(relevance: Tensor) -> Tensor:
                half = back(relevance) / 2
                return back_gate(half) + back_up(half)  # silu hands down what it is given

            return made, down

        for norm, step in ((layer.input_layernorm, attend), (layer.post_attention_layernorm, think)):
            made, back = step(_rms_norm(state, norm))
            state, split = _residual(state, made)
            backs.append((split, back))
    logits, back_head = _linear(_rms_norm(state, body.norm), model.lm_head.weight, None, kept)

    def down(relevance: Tensor) -> Tensor:
        found = back_head(_last(relevance, logits))
        for split, back in reversed(backs):
            straight, through = split(found)
            found = straight + back(through)  # a norm hands down what it is given
        return found.sum(-1)

    return logits[-1], down


def _gpt2(model: Any, ids: Tensor, kept: Kept) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    body, backs = model.transformer, []
    words, places = body.wte.weight[ids], body.wpe.weight[: len(ids)]
    state, split_places = _residual(words, places)
    for block in body.h:
        attention, mlp = block.attn, block.mlp

        def attend(x: Tensor, attention: Any = attention) -> tuple[Tensor, Back]:
            joined, back_joined = _linear(x, attention.c_attn.weight.T, attention.c_attn.bias, kept)
            parts = joined.chunk(3, dim=-1)
            q, k, v = (one.unflatten(-1, (attention.num_heads, -1)).transpose(0, 1) for one in parts)
            mixed, back = _attention(q, k, v, kept)
            given, back_o = _linear(mixed, attention.c_proj.weight.T, attention.c_proj.bias, kept)
            return given, lambda relevance: back_joined(torch.cat(back(back_o(relevance)), dim=-1))

        def think(x: Tensor, mlp: Any = mlp) -> tuple[Tensor, Back]:
            inner, back_inner = _linear(x, mlp.c_fc.weight.T, mlp.c_fc.bias, kept)
            active = torch.nn.functional.gelu(inner, approximate="tanh")
            made, back = _linear(active, mlp.c_proj.weight.T, mlp.c_proj.bias, kept)
            return made, lambda relevance: back_inner(back(relevance))

        for norm, step in ((block.ln_1, attend), (block.ln_2, think)):
            normed, back_norm = _layer_norm(state, norm, kept)
            made, back = step(normed)
            state, split = _residual(state, made)
            backs.append((split, back, back_norm))
    normed, back_final = _layer_norm(state, body.ln_f, kept)
    logits, back_head = _linear(normed, model.lm_head.weight, None, kept)

    def down(relevance: Tensor) -> Tensor:
        found = back_final(back_head(_last(relevance, logits)))
        for split, back, back_norm in reversed(backs):
            straight, through = split(found)
            found = straight + back_norm(back(through))
        of_words, of_places = split_places(found)
        kept.biases += float(of_places.sum())
        return of_words.sum(-1)

    return logits[-1], down


def _projections(attention: Any) -> tuple[Any, Any, Any]:
    return attention.q_proj, attention.k_proj, attention.v_proj


def _last(relevance: Tensor, logits: Tensor) -> Tensor:
    """Relevance (V,) of the last position's logits, (n, V)."""
    whole = torch.zeros_like(logits)
    whole[-1] = relevance
    return whole


def _over(relevance: Tensor, made: Tensor) -> Tensor:
    return torch.where(made == 0, 0, relevance / made)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, kept: Kept) -> tuple[Tensor, Back]:
    made = x @ weight.T if bias is None else x @ weight.T + bias

    def back(relevance: Tensor) -> Tensor:
        shares = _over(relevance, made)
        if bias is not None:
            kept.biases += float((shares * bias).sum())
        return x * (shares @ weight)

    return made, back


def _residual(one: Tensor, other: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    made = one + other

    def split(relevance: Tensor) -> tuple[Tensor, Tensor]:
        return one * _over(relevance, made), other * _over(relevance, made)

    return made, split


def _rms_norm(x: Tensor, norm: Any) -> Tensor:
    return norm.weight * x / (x.square().mean(-1, keepdim=True) + norm.variance_epsilon).sqrt()


def _layer_norm(x: Tensor, norm: Any, kept: Kept) -> tuple[Tensor, Back]:
    width = x.shape[-1]
    centring = torch.eye(width, dtype=x.dtype) - 1 / width
    centred, back_centred = _linear(x, centring, None, kept)
    scaled = norm.weight * centred / (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt()
    made = scaled + norm.bias

    def back(relevance: Tensor) -> Tensor:
        shares = _over(relevance, made)
        kept.biases += float((shares * norm.bias).sum())
        return back_centred(shares * scaled)

    return made, back


def _rotation(length: int, size: int, theta: float) -> Tensor:
    """By what a head is turned at each position, (n, size, size)."""
    angles = torch.arange(length, dtype=torch.float64)[:, None] * theta ** (
        -torch.arange(0, size, 2, dtype=torch.float64) / size
    )
    cos, sin = (torch.diag_embed(one) for one in (angles.cos(), angles.sin()))
    return torch.cat([torch.cat([cos, -sin], dim=-1), torch.cat([sin, cos], dim=-1)], dim=-2)


def _attention(
    q: Tensor, k: Tensor, v: Tensor, kept: Kept, turn: Tensor | None = None
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]]:
    """Of queries (H, n, size), and keys and values of as many heads or fewer; gives (n, H x size)."""
    groups, scale = len(q) // len(k), q.shape[-1] ** -0.5
    seen = torch.ones(q.shape[1], q.shape[1], dtype=torch.bool).tril()
    turned_q, turned_k = (one if turn is None else torch.einsum("tij,htj->hti", turn, one) for one in (q, k))
    keys, values = (one.repeat_interleave(groups, dim=0) for one in (turned_k, v))
    scores = scale * turned_q @ keys.transpose(1, 2)
    weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    made = weights @ values

    def unturned(relevance: Tensor, turned: Tensor, one: Tensor) -> Tensor:
        if turn is None:
            return relevance
        return one * torch.einsum("tij,hti->htj", turn, _over(relevance, turned))

    def flat(one: Tensor) -> Tensor:
        return one.transpose(0, 1).flatten(1)

    def back(relevance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        shares = _over(relevance.unflatten(-1, (len(q), -1)).transpose(0, 1), made)
        of_weights = weights * (shares @ values.transpose(1, 2)) / 2
        of_values = values * (weights.transpose(1, 2) @ shares) / 2
        of_scores = torch.where(seen, scores * (of_weights - weights * of_weights.sum(-1, keepdim=True)), 0)
        kept.softmax += float(of_weights.sum() - of_scores.sum())
        steps = scale * _over(of_scores, scores)
        of_queries = turned_q * (steps @ keys) / 2
        of_keys = keys * (steps.transpose(1, 2) @ turned_q) / 2
        of_keys, of_values = (one.unflatten(0, (-1, groups)).sum(1) for one in (of_keys, of_values))
        return flat(unturned(of_queries, turned_q, q)), flat(unturned(of_keys, turned_k, k)), flat(of_values)

    return flat(made), back
