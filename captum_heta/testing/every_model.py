"""A tiny model of random weights for every model type of the installed transformers, those of tomorrow included.

Sizes are set by the names that configurations share; a type, or a part, that does not build with these is in
`_SPECIAL`.
"""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

KINDS: Mapping[str, Mapping[str, str]] = {
    "causal": dict(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
    "vision": dict(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES),
}

LAYERS, WIDTH, HEADS, VOCABULARY = 2, 32, 4, 97

_WIDTHS = (
    "hidden_size d_model n_embd word_embed_proj_dim hidden_dim model_dim embedding_size attention_hidden_size "
    "text_hidden_size out_hidden_size adapter_in_dim adapter_input_size adapter_out_dim codebook_dim "
    "base_channels"
)
_LAYERS = (
    "num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers num_decoder_layers num_encoder_layers "
    "depth"
)
_HEADS = "num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads"
_INNER = (
    "intermediate_size ffn_dim decoder_ffn_dim encoder_ffn_dim n_inner dim_ff ffn_hidden_size moe_intermediate_size "
    "shared_expert_intermediate_size shared_intermediate_size intermediate_size_mlp expert_ffn_hidden_size d_ff d_inner"
)
_EXPERTS = "num_experts n_routed_experts num_local_experts moe_num_experts"
_PER_TOKEN = "num_experts_per_tok moe_topk moe_k top_k_experts num_experts_per_token"
_MEDIA = "image video audio boi eoi boa eoa vision_start vision_end image_start image_end"
_KINDS = "layer_types mlp_layer_types layers_block_type attention_layers indexer_types"
# What configurations call their sizes, by the value that makes a tiny model.
SIZES: dict[str, Any] = {
    **dict.fromkeys(_WIDTHS.split(), WIDTH),
    **dict.fromkeys(_LAYERS.split(), LAYERS),
    **dict.fromkeys(_HEADS.split(), HEADS),
    **dict.fromkeys(_INNER.split(), 48),
    **dict.fromkeys(_EXPERTS.split(), 4),
    **dict.fromkeys(_PER_TOKEN.split(), 2),
    **dict.fromkeys("max_position_embeddings n_positions max_seq_len max_sequence_length n_ctx".split(), 128),
    **dict.fromkeys("bos_token_id eos_token_id".split(), 1),
    "vocab_size": VOCABULARY,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rotary_dim": 4,
    "n_group": 1,
    "topk_group": 1,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "mamba_d_state": 8,
    "mamba_expand": 2,
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 8,
    "chunk_size": 8,
    "state_size": 8,
    "sliding_window": 5,
    "pad_token_id": 0,
    "patch_size": 4,
    "image_size": 8,
    "is_decoder": True,
    "dtype": "float32",
    "vocab_size_per_layer_input": VOCABULARY,
    "hidden_size_per_layer_input": 8,
    "num_kv_shared_layers": 0,
    # what stands for pictures and sound, at the end of the vocabulary
    **{f"{name}_token_{kind}": VOCABULARY - 1 - i for i, name in enumerate(_MEDIA.split()) for kind in ("id", "index")},
}


class NotBuiltError(Exception):
    """Why there is no tiny model of a type."""


def every_model(kind: str, model_type: str, seed: int = 0) -> Any:
    """A tiny model in eval mode; the global random state is not touched.

    Args:
        kind: "causal" or "vision", the two lists of transformers.
        model_type: its name there.
        seed: of the weights.

    Raises:
        NotBuiltError: if the sizes do not fit, and why.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            config = small_config(CONFIG_MAPPING[model_type])
            model_class = getattr(transformers, KINDS[kind][model_type])  # the auto classes do not find Evolla's
            model = model_class(config if isinstance(config, model_class.config_class) else config.get_text_config())
            with torch.no_grad():
                for parameter in model.parameters():  # away from tiny initial weights, so that no term is near zero
                    if parameter.is_floating_point():
                        parameter.add_(0.1 * torch.randn_like(parameter))
        except Exception as error:  # of whatever kind: transformers' own validation has many
            raise NotBuiltError(f"{type(error).__name__}: {error}") from error
    return model.eval()


def small_config(config_class: Any, default: Any = None) -> Any:
    """A configuration with `SIZES` wherever it has such a name, in its parts too.

    Args:
        config_class: of transformers.
        default: one of this class, whose values are kept where they are no size; None for the class's own.
    """
    names = _fields(config_class)
    own = config_class()
    default = own if default is None else default
    # what a whole says of its parts: both are to be of one mind
    chosen = {name: value for name, value in _scalars(default, names).items() if value != _default(own, name)}
    chosen |= {
        name: value
        for name, value in SIZES.items()
        if name in names and not isinstance(_default(default, name), list | tuple)
    }
    rope = _default(default, "rope_parameters")
    if isinstance(rope, dict) and "mrope_section" in rope:
        chosen["rope_parameters"] = {**rope, "mrope_section": [2, 1, 1]}  # of positions in time, height and width
    for name in getattr(config_class, "sub_configs", {}):
        part = _default(default, name)
        if part is not None:
            chosen[name] = _small_part(part).to_dict()
    if "kv_lora_rank" in names and "num_key_value_heads" in names:
        chosen["num_key_value_heads"] = HEADS  # latent attention has no groups
    for name in _KINDS.split():
        kinds = _default(default, name)
        if name in names and isinstance(kinds, list | tuple) and kinds:
            # the first of each kind, and as many as there are layers
            different = list(dict.fromkeys(kinds))
            chosen[name] = (different * LAYERS)[:LAYERS]
    for name, value in _SPECIAL.get(config_class.model_type, {}).items():
        if isinstance(value, Mapping) and isinstance(chosen.get(name), Mapping):
            chosen[name] = {**chosen[name], **value}
        else:
            chosen[name] = value
    return config_class(**{name: value for name, value in chosen.items() if value is not ...})


def _small_part(part: Any) -> Any:
    if part.model_type == "timm_wrapper":  # the networks of timm, which is another package
        part = CONFIG_MAPPING["siglip_vision_model"]()
    return small_config(type(part), part)


def _scalars(config: Any, names: set[str]) -> dict[str, Any]:
    """The numbers, words and switches of a configuration."""
    found = {name: _default(config, name) for name in names}
    return {name: value for name, value in found.items() if isinstance(value, int | float | str)}


def _default(config: Any, name: str) -> Any:
    try:
        return getattr(config, name, None)
    except RuntimeError:  # of a configuration whose layers differ in it
        return None


def _fields(config_class: Any) -> set[str]:
    """The names of what can be set."""
    others = getattr(config_class, "attribute_map", {})
    if dataclasses.is_dataclass(config_class):
        names = {field.name for field in dataclasses.fields(config_class)} | set(others)
    else:
        names = set(inspect.signature(config_class.__init__).parameters)
    return {name for name in names if not isinstance(getattr(config_class, others.get(name, name), None), property)}


_ROPE = {"rope_type": "default", "rope_theta": 1e4}
_SECTIONS = {"text_config": {"rope_parameters": {**_ROPE, "mrope_section": [2, 1, 1]}}}
_HALF = {"text_config": {"rope_parameters": {**_ROPE, "partial_rotary_factor": 0.5, "mrope_section": [1, 1, 0]}}}
_WITH_SECTIONS = "glm46v glm4v glm_ocr glmga paddleocr_vl qwen2_5_omni_thinker qwen2_5_vl qwen2_vl"
# What a type needs beside the shared sizes, or has otherwise; ... leaves the type's own default.
_SPECIAL: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1]},
    "falcon_h1": {"mamba_d_ssm": 64},
    "recurrent_gemma": {"lru_width": WIDTH, "num_hidden_layers": 3},
    "xmod": {"default_language": "en_XX"},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "attention_layers": ...},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "jamba": {"use_mamba_kernels": False},
    "kimi_linear": {"linear_head_dim": 8, "linear_num_heads": 4},
    "nemotron_h": {
        "mamba_head_dim": 8,
        "mamba_num_heads": 8,
        "ssm_state_size": 8,
        "n_groups": 2,
        "moe_shared_expert_intermediate_size": 48,
        "layers_block_type": ["linear_attention", "moe", "full_attention"],
    },
    "reformer": {"axial_pos_embds_dim": [16, 16], "axial_pos_shape": [8, 16], "attention_head_size": 8},
    "zaya": {"num_experts_per_tok": 1},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "longcat_flash": {"head_dim": 4},
    **dict.fromkeys(_WITH_SECTIONS.split(), _SECTIONS),
    "glm4v_moe": _HALF,
    "apertus1p5": {
        "image_token_offset": 80,
        "audio_token_offset": 88,
        "vision_config": {"codebook_size": 8},
        "audio_config": {"codebook_size": 8},
    },
    "chameleon": {"vocabulary_map": {"<image>": 96}},
    "emu3": {"vocabulary_map": {"<image>": 96, "<|extra_200|>": 95}},
    "cohere_compass_text": {"rope_parameters": {"full_attention": _ROPE}},
    "deepseek_ocr2_text": {"mlp_layer_types": ["dense", "sparse"]},
    "dots3_note_text": {
        "head_dim": 12,
        "swa_num_attention_heads": HEADS,
        "swa_num_key_value_heads": HEADS,
        "swa_q_lora_rank": 16,
        "swa_kv_lora_rank": 16,
        "swa_head_dim": 12,
        "swa_qk_nope_head_dim": 8,
        "swa_v_head_dim": 8,
    },
    "ernie4_5_vl_moe_text": {
        "rope_parameters": {**_ROPE, "mrope_section": [1, 1, 2]},
        "moe_intermediate_size": [48, 48],
    },
    "qwen2_vl_vision": {"embed_dim": WIDTH},
    "glm5_next_text": {"qk_rope_head_dim": 0, "linear_head_dim": 8, "linear_num_heads": 4},
    "granite4_vision": {
        "vision_config": {"hidden_size": 64},
        "deepstack_layer_map": [[-2, 0]],
        "spatial_target_layers": [1],
        "downsample_rate": "1/2",
    },
    "hunyuan_vl_text": {"rope_parameters": {**_ROPE, "mrope_section": [2, 1, 1]}},
    "hy_v4_vl_text": {"rope_parameters": {**_ROPE, "mrope_section": [1, 1, 0]}},
    "molmo2_adapter": {"vision_feature_layer": [-1, -2]},
    "muse_spark_audio": {"patch_sizes": [4, 2], "hidden_sizes": [16, WIDTH], "depths": [1, 1]},
    "perception_lm": {"vision_config": {"model_args": {"embed_dim": WIDTH}}},
    "qwen4_exp_text": {
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 16,
        "indexer_compress_ratio": 2,
    },
    "unlimited_ocr_text": {"num_key_value_heads": HEADS},  # its eager attention repeats none
    "gemma3": {"mm_tokens_per_image": 4},
    "qwen3_vl": {**_SECTIONS, "vision_config": {"deepstack_visual_indexes": [0]}},
    "gemma3n_text": {"layer_types": ["sliding_attention", "full_attention"], "activation_sparsity_pattern": None},
}
