"""What modules are given in a pass: recorded, replaced, and given again.

Holding the attention weights of all layers would take layers x heads x T x T numbers. What an attention module is given
is small, and calling it again gives its weights back.
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

    @property
    def hidden_states(self) -> Tensor:
        """(B, S, d), the first argument of every layer of transformers."""
        return self.arguments[0] if self.arguments else self.named["hidden_states"]


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


@contextmanager
def replaced_input(module: nn.Module, states: Tensor) -> Iterator[None]:
    """Within this context a layer is given ``states`` in place of its own hidden states."""

    def replace(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if arguments:
            return (states.to(arguments[0].device), *arguments[1:]), named
        return arguments, named | {"hidden_states": states.to(named["hidden_states"].device)}

    handle = module.register_forward_pre_hook(replace, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def replaced_output(module: nn.Module, states: Tensor) -> Iterator[None]:
    """Within this context a layer gives ``states`` in place of its own hidden states."""

    def replace(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
        return (states, *output[1:]) if isinstance(output, tuple) else states

    handle = module.register_forward_hook(replace)
    try:
        yield
    finally:
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
