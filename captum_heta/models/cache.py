"""A key-value cache of a prefix that any number of passes may start from."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer


class _PrefixLayer(DynamicLayer):
    """One layer's keys and values, each (1, heads, length, head size). A pass is given them, and leaves them."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys = self._prefix_keys = keys
        self.values = self._prefix_values = values

    def update(self, key_states: Tensor, value_states: Tensor, *arguments: Any, **named: Any) -> tuple[Tensor, Tensor]:
        """The prefix, repeated over the batch, and the new states."""
        return _after(self._prefix_keys, key_states), _after(self._prefix_values, value_states)


def _after(prefix: Tensor, new: Tensor) -> Tensor:
    return torch.cat([prefix.to(new.device).expand(new.shape[0], -1, -1, -1), new], dim=-2)


def prefix_cache(layers: Iterable[tuple[Tensor, Tensor]], length: int) -> Cache:
    """The first ``length`` positions of each layer's keys and values, as views.

    transformers' own DynamicCache would copy them for every pass, and a pass would add its own states to them.
    """
    return Cache(layers=[_PrefixLayer(keys[..., :length, :], values[..., :length, :]) for keys, values in layers])
