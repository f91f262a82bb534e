"""What one pass of a model over a sequence leaves behind."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from transformers import Cache

from captum_heta.models.cache import prefix_cache
from captum_heta.models.families import head_weights
from captum_heta.models.stages import Stage

if TYPE_CHECKING:
    from captum_heta.models.causal_lm import CausalLM


class KeysValues(NamedTuple):
    """One layer's part of the cache, each (1, key-value heads, T, head size)."""

    keys: Tensor
    values: Tensor


@dataclass(frozen=True, eq=False)
class AttentionLayer:
    """What one attention layer did to the sequence.

    Attributes:
        weights: computes A^lh anew, whose rows sum to 1, in pieces: pairs of the first query of a piece and its rows
            (H, queries, keys up to the last query).
        values: V^lh, (key-value heads, T, head size), as the module used them.
        projection: W_O, the module that mixes the heads.
    """

    weights: Callable[[], Iterator[tuple[int, Tensor]]]
    values: Tensor
    projection: nn.Module

    def value_norms(self) -> Tensor:
        """norm1(V_i^lh W_O^lh), (H, T): how much head h would carry away from position i."""
        mixers = head_weights(self.projection, self.values.shape[-1], like=self.values)
        shared, rest = divmod(len(mixers), len(self.values))  # query heads per key-value head
        if rest:
            raise ValueError(
                f"{len(mixers)} heads of the output projection cannot share {len(self.values)} heads of values evenly."
            )
        values = self.values.to(mixers.device, mixers.dtype)
        # head by head: (T, d) at a time, not (H, T, d)
        return torch.stack([(values[h // shared] @ mixer).abs().sum(-1) for h, mixer in enumerate(mixers)])


@dataclass(frozen=True, eq=False)
class Trace:
    """One sequence, the model's predictions at its end, and the means to run variations of it cheaply.

    Attributes:
        lm: the model.
        embeds: X, (T, d), of the prompt and all outputs but the last.
        position_ids: (T,).
        log_probs: (K, V), the predictions of the K outputs, at the last K positions.
        layers: the attention of each layer, the first layer first.
        past: the keys and values of each layer.
    """

    lm: "CausalLM"
    embeds: Tensor
    position_ids: Tensor
    log_probs: Tensor
    layers: list[AttentionLayer]
    past: list[KeysValues]
    _entering: dict[int, Tensor] = field(default_factory=dict)

    @property
    def n_outputs(self) -> int:
        """K, the number of outputs."""
        return self.log_probs.shape[0]

    @cached_property
    def output_positions(self) -> Tensor:
        """(K,), where each output is predicted."""
        length = self.embeds.shape[0]
        return torch.arange(length - self.n_outputs, length, device=self.embeds.device)

    def rerun(self, embeds: Tensor, start: int, keep: int) -> Tensor:
        """Log-probabilities with other embeddings from position ``start`` on.

        A causal model's positions before ``start`` are not touched by what follows, so they come from the cache.

        Args:
            embeds: (B, S, d), for positions ``start`` to ``start`` + S.
            start: the first position that may differ.
            keep: at how many of the last positions to predict.

        Returns:
            (B, keep, V).
        """
        positions = self.position_ids[start : start + embeds.shape[1]]
        return self.lm.log_probs(embeds, positions, self._prefix(start), keep)

    def rerun_from(self, layer: int, states: Tensor, start: int, keep: int) -> Tensor:
        """As `rerun`, with other hidden states (1, S, d) entering a layer, and the embeddings as they are."""
        embeds = self.embeds[None, start : start + states.shape[1]]
        with self.lm.entering(layer, states):
            return self.rerun(embeds, start, keep)

    def stages(self, start: int, stop: int, keep: int, first: int | None) -> tuple[list[Stage], Stage]:
        """The predictions from positions ``start`` to ``stop``, as `CausalLM.split` gives them.

        Args:
            start: the first position.
            stop: after the last.
            keep: at how many of the last positions to predict.
            first: begin with the hidden states that enter this layer; None for the embeddings.
        """
        return self.lm.split(lambda x: self.rerun(x, start, keep), self.embeds[None, start:stop], first)

    def entering(self, layer: int) -> Tensor:
        """The hidden states (T, d) that enter a layer."""
        if layer not in self._entering:
            self._entering[layer] = self.lm.states_entering(layer, self.embeds, self.position_ids)
        return self._entering[layer]

    def _prefix(self, length: int) -> Cache | None:
        return prefix_cache(self.past, length) if length else None
