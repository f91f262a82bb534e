"""The embedded model before it is trained: a small Llama whose first two layers are shaped for looking things up.

From the usual random start, learning which name belongs to which value took hours on two cores. The shape is what a
model that has learned it looks like, under noise: the first layer gathers each token's neighbours, the second finds
the token that had the neighbours which the question names and copies it. Training then takes minutes, and keeps,
changes or drops the shape as the texts demand.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

LAYERS, WIDTH, HEADS, GROUPS, HEAD_SIZE = 4, 128, 4, 2, 64
THETA = 1e6
NOISE = 0.02
WORD, CONTEXT = slice(0, WIDTH // 2), slice(WIDTH // 2, WIDTH)  # halves of the residual stream


def untrained(tokenizer: Any) -> LlamaForCausalLM:
    """The model at step 0; random draws come from torch's global generator."""
    model: Any = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=192,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=GROUPS,
            head_dim=HEAD_SIZE,
            max_position_embeddings=512,
            rope_parameters={"rope_type": "default", "rope_theta": THETA},
            attention_bias=True,
            initializer_range=NOISE,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    first, second, *_ = model.model.layers
    with torch.no_grad():
        model.get_input_embeddings().weight[:, WORD].normal_(0, (WIDTH // 2) ** -0.5)
        _gather_neighbours(first.self_attn)
        _look_up(second.self_attn)
    return model


def _by_head(attention: Any) -> dict[str, Tensor]:
    """Views of the weights: queries and keys (heads, size, d), values likewise, output (d, heads, size)."""
    return {
        "q": attention.q_proj.weight.view(HEADS, HEAD_SIZE, WIDTH),
        "k": attention.k_proj.weight.view(GROUPS, HEAD_SIZE, WIDTH),
        "v": attention.v_proj.weight.view(GROUPS, HEAD_SIZE, WIDTH),
        "o": attention.o_proj.weight.view(WIDTH, HEADS, HEAD_SIZE),
    }


def _rotation() -> Tensor:
    """The angle by which rotary embeddings turn each pair of dimensions from one position to the next."""
    return THETA ** (-torch.arange(HEAD_SIZE // 2) / (HEAD_SIZE // 2))


def _gather_neighbours(attention: Any) -> None:
    """Head h attends about 1.6 h + 1 tokens back and adds the words it finds there to the context."""
    angles = _rotation()
    fast = int((angles > 0.07).sum())  # pairs that tell near positions apart
    strength = 3.0
    queries, keys = attention.q_proj.bias.view(HEADS, HEAD_SIZE), attention.k_proj.bias.view(GROUPS, HEAD_SIZE)
    keys[:, :fast] = strength
    for head in range(HEADS):  # a constant query turned back by as many positions, against constant keys
        turn = (1 + 1.6 * head) * angles[:fast]
        queries[head, :fast] = strength * turn.cos()
        queries[head, HEAD_SIZE // 2 : HEAD_SIZE // 2 + fast] = -strength * turn.sin()
    weights = _by_head(attention)
    weights["v"][:, :, WORD] += torch.eye(HEAD_SIZE)
    weights["o"][CONTEXT] += 0.05 * torch.eye(HEAD_SIZE)[:, None]


def _look_up(attention: Any) -> None:
    """Each head attends to tokens whose context resembles its own, and copies their word or their context."""
    slow = (_rotation() < 0.006).nonzero().flatten()  # pairs that hardly turn within a prompt: position does not matter
    dims = torch.cat([slow, slow + HEAD_SIZE // 2])
    same = torch.linalg.qr(torch.randn(HEAD_SIZE, HEAD_SIZE)).Q[: len(dims)]
    weights = _by_head(attention)
    weights["q"][:, dims, CONTEXT] += same
    weights["k"][:, dims, CONTEXT] += same
    weights["v"][0, :, WORD] += torch.eye(HEAD_SIZE)
    weights["v"][1, :, CONTEXT] += torch.eye(HEAD_SIZE)
    weights["o"][WORD] += 0.05 * torch.eye(HEAD_SIZE)[:, None]
