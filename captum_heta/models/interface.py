"""Attention read where the classes of transformers hand it on, whatever their projections are called.

Nearly all of them call the ``eager_attention_forward`` of their modeling module with the values that A multiplies,
after latents were expanded and a cache was read, and get A V and A back. What a cache keeps is not always that: latent
attention caches what values are made of.
"""

import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import Cache

from captum_heta.models.cache import prefix_cache
from captum_heta.models.calls import Call

# transformers has no public place to listen at: another implementation registered in its `AttentionInterface` would
# have another name than "eager" in the configuration, by which classes choose masks and code. tests/models/
# test_interface.py fails if the function is renamed.
_NAME = "eager_attention_forward"


class Attended(NamedTuple):
    """What an attention module was told by its interface.

    Attributes:
        values: (B, key-value heads, T, size), which A multiplies.
        gathered: A V, (B, queries, H, size), or what the interface made of it, as where a sink takes a share.
        weights: A, (B, H, queries, T); None where it is not returned.
    """

    values: Tensor
    gathered: Tensor
    weights: Tensor | None

    def product(self) -> Tensor | None:
        """A V of the first row, (queries, H, size); None without weights, or where heads do not share values evenly."""
        return None if self.weights is None else product(self.weights[0], self.values[0])


def product(weights: Tensor, values: Tensor) -> Tensor | None:
    """A V of weights (H, queries, T) and values (key-value heads, T, size), (queries, H, size), as values are.

    None where heads do not share values evenly.
    """
    if len(weights) % len(values):
        return None
    values = values.repeat_interleave(len(weights) // len(values), dim=0)
    return (weights.to(values) @ values).transpose(0, 1)


# Called with what is attended; what it returns, if anything, stands for what was gathered.
Listener = Callable[[Attended], Tensor | None]


def uses_interface(module: nn.Module) -> bool:
    """Whether the code of a module names the function of the interface."""
    forward = inspect.unwrap(type(module).forward)
    code = getattr(forward, "__code__", None)
    return code is not None and _NAME in code.co_names and callable(forward.__globals__.get(_NAME))


class _Ear:
    """Stands for the eager attention of a modeling module, and tells those who listen."""

    lock = threading.Lock()

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.namespace, self.own = namespace, namespace[_NAME]
        self.listeners: list[tuple[nn.Module, Listener]] = []

    def __call__(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *rest: Any, **named: Any) -> Any:
        output = self.own(module, query, key, value, *rest, **named)
        for heard, listener in list(self.listeners):
            if heard is module:
                other = listener(Attended(value, *output[:2]))
                output = output if other is None else (other, *output[1:])
        return output

    @classmethod
    def of(cls, module: nn.Module) -> "_Ear":
        """The one in the modeling module of an attention module."""
        namespace = inspect.unwrap(type(module).forward).__globals__
        found = namespace[_NAME]
        return found if isinstance(found, cls) else cls(namespace)

    def add(self, module: nn.Module, listener: Listener) -> None:
        self.listeners.append((module, listener))
        self.namespace[_NAME] = self

    def remove(self, module: nn.Module, listener: Listener) -> None:
        """Nothing happens if it is not there."""
        self.listeners = [one for one in self.listeners if one[0] is not module or one[1] is not listener]
        if not self.listeners and self.namespace[_NAME] is self:
            self.namespace[_NAME] = self.own


@contextmanager
def listening(listeners: Sequence[tuple[nn.Module, Listener]]) -> Iterator[None]:
    """Within this context a listener is called whenever its module attends; others notice nothing."""

    def remove() -> None:
        with _Ear.lock:
            for module, listener in listeners:
                _Ear.of(module).remove(module, listener)

    # twice, the second time for an interruption of the first
    try:
        try:
            with _Ear.lock:
                for module, listener in listeners:
                    _Ear.of(module).add(module, listener)
            yield
        finally:
            remove()
    finally:
        remove()


@torch.no_grad()
def attention_weights(
    module: nn.Module, call: Call, past: Sequence[tuple[Tensor, Tensor]], start: int
) -> Tensor | None:
    """The weights (H, queries, keys) of an attention module, called again for queries from ``start`` on.

    Holding the attention weights of all layers would take layers x heads x T x T numbers. What an attention module is
    given is small, and calling it again gives its weights back.

    Args:
        module: an attention module of transformers.
        call: what it was called with.
        past: the keys and values of each layer; none for a pass without a cache.
        start: how many positions were in the cache then.

    Returns:
        None if the module neither uses the interface nor returns (output, weights, ...).
    """

    def fresh(value: Any) -> Any:  # the cache of the call has grown since
        if not isinstance(value, Cache):
            return value
        return prefix_cache(past, start) if past else None

    named = {name: fresh(value) for name, value in call.named.items()}
    if "output_attentions" in inspect.signature(module.forward).parameters:
        named["output_attentions"] = True  # some give their weights only when asked (OPT, until transformers 5.0)
    heard: list[Tensor | None] = []
    with listening([(module, lambda found: heard.append(found.weights))] if uses_interface(module) else []):
        output = module(*map(fresh, call.arguments), **named)
    returned = output[1] if isinstance(output, tuple) and len(output) > 1 else None
    weights = heard[0] if len(heard) == 1 else returned
    return weights[0] if isinstance(weights, Tensor) else None
