"""Where architectures keep their layers, their values and their output projections.

The names find modules whose attention does not call the interface that `captum_heta.models.interface` listens at. Their
values are read from the cache: after their own normalisation and before grouped heads are repeated.
"""

from collections.abc import Iterator
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

# The children of an attention module that make its values, by architecture.
VALUE_PROJECTIONS = (
    "v_proj",  # Llama, Mistral, Mixtral, Qwen, Gemma, OLMo, StableLM, OPT, GPT-J, Phi
    "qkv_proj",  # Phi-3
    "c_attn",  # GPT-2
    "query_key_value",  # GPT-NeoX, BLOOM, Falcon
)

# The child that mixes the heads.
OUTPUT_PROJECTIONS = (
    "o_proj",  # Llama, Mistral, Mixtral, Qwen, Phi-3, Gemma, OLMo, StableLM
    "out_proj",  # OPT, GPT-J
    "c_proj",  # GPT-2
    "dense",  # GPT-NeoX, BLOOM, Falcon, Phi
)


def attention_candidates(model: nn.Module) -> dict[int, list[tuple[nn.Module, nn.Module]]]:
    """By layer, the modules that may be its attention, each with its output projection.

    An attention module knows its place in the cache (``layer_idx``) and has a child of each table above. State-space
    and linear-attention blocks know their place too, but make no values. A layer may have a second one that reads an
    encoder, and is not called for text alone.
    """
    found: dict[int, list[tuple[nn.Module, nn.Module]]] = {}
    for module in model.modules():
        children = dict(module.named_children())
        projections = [children[name] for name in OUTPUT_PROJECTIONS if name in children]
        values = any(name in children for name in VALUE_PROJECTIONS)
        layer = getattr(module, "layer_idx", None)
        if isinstance(layer, int) and values and projections:
            found.setdefault(layer, []).append((module, projections[0]))
    return dict(sorted(found.items()))


def decoder_layers(model: nn.Module, count: int) -> nn.ModuleList | None:
    """The list of the ``count`` layers that read the text; None if there is no such list.

    It is looked for in what transformers calls the decoder of text first, and not in parts that read something else.
    Where every layer there has attention that knows its place, each must hold its own, in order: experts, heads and
    the layers that read pictures may be as many. Otherwise it is the outermost list of this length.
    """
    find: Any = getattr(model, "get_decoder", None)
    for part in (find() if find else None, model):
        if isinstance(part, nn.Module):
            lists = [
                module
                for module in _without(part, _other_configs(model))
                if isinstance(module, nn.ModuleList) and len(module) == count
            ]
            attention = attention_candidates(part)
            if all(layer in attention for layer in range(count)):
                lists = [one for one in lists if all(_holds(one[i], attention[i][0][0]) for i in range(count))]
            if lists:
                return lists[0]
    return None


def _other_configs(model: nn.Module) -> tuple[type, ...]:
    """The kinds of configuration of the parts of a model that do not read text."""
    config: Any = getattr(model, "config", None)
    parts = [getattr(config, name, None) for name in getattr(config, "sub_configs", {})]
    return tuple(type(part) for part in parts if part is not None and type(part) is not type(config.get_text_config()))


def _without(module: nn.Module, configs: tuple[type, ...]) -> Iterator[nn.Module]:
    """A module and those in it, but none that has one of these configurations."""
    if not isinstance(getattr(module, "config", None), configs):
        yield module
        for child in module.children():
            yield from _without(child, configs)


def _holds(layer: nn.Module, part: nn.Module) -> bool:
    return any(module is part for module in layer.modules())


def is_plain(module: nn.Module | None) -> TypeGuard[nn.Linear]:
    """Whether a module multiplies by a weight that is there, and does no more but add a bias."""
    return (
        type(module) is nn.Linear
        and type(module.weight) is nn.Parameter  # not a quantized tensor of torchao
        and not module.weight.is_meta  # of accelerate, which brings it in for a call
        and not hasattr(module, "parametrizations")
        and not _hooked(module)
    )


def _hooked(module: nn.Module) -> bool:
    """Whether there are hooks of a person's, which may change what it does."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def head_weights(projection: nn.Module, size: int, like: Tensor) -> Tensor:
    """W_O split by head, (heads, head size, d), such that the projection's output is sum_h z_h @ W_O[h] + bias.

    Args:
        projection: the module that mixes the heads.
        size: of a head.
        like: a tensor of the dtype and device that the projection takes.

    Raises:
        TypeError: if ``projection`` says nowhere how many inputs it takes.
        ValueError: if its inputs do not divide into heads of ``size``.
    """
    weight = matrix(projection, like)
    if weight.shape[0] % size:
        raise ValueError(
            f"The output projection takes {weight.shape[0]} inputs, which heads of size {size} do not divide."
        )
    return weight.unflatten(0, (-1, size))


def matrix(projection: nn.Module, like: Tensor) -> Tensor:
    """W (inputs, outputs) of a projection that makes z @ W + bias of z, in float32 or better.

    One of another class than torch's or GPT-2's is asked what it does: quantized ones keep no weight to read, adapters
    add to it, and accelerate brings it in for a call only.

    Args:
        projection: the module.
        like: a tensor of the dtype and device that it takes.

    Raises:
        TypeError: if it says nowhere how many inputs it takes.
    """
    if type(projection) is Conv1D and not projection.weight.is_meta and not _hooked(projection):
        weight: Tensor = projection.weight  # GPT-2's Conv1D keeps its weight transposed
    elif is_plain(projection):
        weight = projection.weight.T
    else:
        weight = _asked(projection, like)
    return weight.detach().to(torch.promote_types(weight.dtype, torch.float32))


@torch.no_grad()
def _asked(projection: nn.Module, like: Tensor) -> Tensor:
    inputs = getattr(projection, "in_features", None) or getattr(projection, "nx", None)
    if not isinstance(inputs, int):
        raise TypeError(
            f"The projection {type(projection).__name__} has no in_features: HETA cannot tell its heads apart. "
            "Load the model without quantization and merge its adapters."
        )
    ones = torch.eye(inputs, dtype=like.dtype, device=like.device)
    return projection(ones[None])[0] - projection(torch.zeros_like(ones[None, :1]))[0]
