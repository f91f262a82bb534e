"""The attention of a pass, computed anew one layer at a time.

Holding the weights of all layers would take layers x heads x T x T numbers. What the attention modules are given is
small; calling one again gives its weights back.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import Cache

from captum_heta.models.cache import prefix_cache


class Call(NamedTuple):
    """What a module was called with."""

    arguments: tuple[Any, ...]
    named: dict[str, Any]


@contextmanager
def recorded(modules: dict[int, nn.Module]) -> Iterator[dict[int, list[Call]]]:
    """Within this context the calls of modules are collected under their keys."""
    # Hooks of our own: `output_attentions=True` would leave transformers' capturing hooks on the model for good.
    calls: dict[int, list[Call]] = {key: [] for key in modules}

    def record(key: int) -> Any:
        return lambda module, arguments, named: calls[key].append(Call(arguments, named))

    handles = [module.register_forward_pre_hook(record(key), with_kwargs=True) for key, module in modules.items()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def attention_weights(
    module: nn.Module, call: Call, past: Sequence[tuple[Tensor, Tensor]], start: int
) -> Tensor | None:
    """The weights (H, queries, keys) of an attention module, called again for queries from ``start`` on.

    Args:
        module: an attention module of transformers, which returns (output, weights, ...).
        call: what it was called with.
        past: the keys and values of each layer.
        start: how many positions were in the cache then.

    Returns:
        None if the module returns no weights.
    """

    def fresh(value: Any) -> Any:  # the cache of the call has grown since
        return prefix_cache(past, start) if isinstance(value, Cache) else value

    named = {name: fresh(value) for name, value in call.named.items()}
    if "output_attentions" in inspect.signature(module.forward).parameters:
        named["output_attentions"] = True  # some give their weights only when asked (OPT, until transformers 5.0)
    output = module(*map(fresh, call.arguments), **named)
    weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
    return weights[0] if isinstance(weights, Tensor) else None
