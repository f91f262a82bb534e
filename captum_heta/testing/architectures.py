"""Randomly initialised models: tiny ones of the supported architectures, and some of the size of real ones."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

VOCAB_SIZE = 97
_TOKENS = {"vocab_size": VOCAB_SIZE, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_GROUPED = {**_SIZES, "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 64}

# What differs from transformers' defaults. Sliding windows are shorter than the test prompts.
CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "gptj": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "rotary_dim": 4},
    "gpt_neox": {**_SIZES, "intermediate_size": 48, "max_position_embeddings": 64},
    "opt": {**_SIZES, "ffn_dim": 48, "max_position_embeddings": 64, "word_embed_proj_dim": 16},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "falcon": {**_SIZES, "num_kv_heads": 2, "new_decoder_architecture": True, "max_position_embeddings": 64},
    "llama": _GROUPED,
    "mistral": {**_GROUPED, "sliding_window": 5},
    "mixtral": {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2, "experts_implementation": "eager"},
    "qwen2": _GROUPED,
    "qwen3": {**_GROUPED, "head_dim": 16},
    "phi3": {**_GROUPED, "sliding_window": 5},
    "gemma2": {**_GROUPED, "head_dim": 16, "sliding_window": 5},
    "gemma3_text": {
        **_GROUPED,
        "head_dim": 16,
        "sliding_window": 5,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "olmo2": _GROUPED,
    "stablelm": _GROUPED,
}

# The sizes of real models, for benchmarks.
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny": ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 99, "bos_token_id": 0, "eos_token_id": 0}),
    "gpt2": ("gpt2", {}),
    "llama-1b": (
        "llama",
        {
            "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
            "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256, "tie_word_embeddings": True,
        },
    ),
}  # fmt: skip


def shaped_model(shape: str, seed: int = 0) -> Any:
    """A model of one of the `SHAPES`, with the initial weights of transformers; the global random state is kept."""
    name, changes = SHAPES[shape]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **changes)).eval()


def tiny_model(name: str, seed: int = 0, **changes: Any) -> Any:
    """A model of about 20 thousand random parameters.

    Args:
        name: a key of `CONFIGS`, which are the ``model_type`` of transformers.
        seed: of the weights; the global random state is not touched.
        **changes: to its configuration.
    """
    config = AutoConfig.for_model(name, **{**_TOKENS, **CONFIGS[name], **changes})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():  # away from the tiny initial weights, so that every term is far from zero
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()
