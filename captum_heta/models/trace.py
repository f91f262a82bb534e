"""What one pass of a model over a sequence leaves behind."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from transformers import Cache, DynamicCache

from captum_heta.models.cache import prefix_cache
from captum_heta.models.calls import recorded
from captum_heta.models.causal_lm import CausalLM
from captum_heta.models.layer_reading import KeysValues, LayerReading
from captum_heta.models.layers import Layer
from captum_heta.models.media import Rereading
from captum_heta.models.stages import Stage


@dataclass(frozen=True, eq=False)
class Trace:
    """One sequence, the model's predictions at its end, and the means to run variations of it cheaply.

    Attributes:
        lm: the model.
        embeds: X, (T, d), of the prompt and all outputs but the last.
        log_probs: (K, V), the predictions of the K outputs, at the last K positions.
        layers: what carried tokens on in each layer that does, the first layer first.
        past: the keys and values of each layer; empty without a cache.
        position_ids: (T,) or (A, T), if they are not 0 to T - 1.
        per_layer: (T, ...), what the layers read of the token ids beside the embeddings.
        rereading: how a sequence with pictures or sound is run, where its embeddings are not all of it.
    """

    lm: CausalLM
    embeds: Tensor
    log_probs: Tensor
    layers: list[Layer]
    past: list[KeysValues]
    position_ids: Tensor | None = None
    per_layer: Tensor | None = None
    rereading: Rereading | None = None
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

    def first_run(self, position: int) -> int:
        """Where a rerun starts in which ``position`` is the first to differ: there, or at 0 without a valid cache.

        A causal model's positions before it are not touched by what follows, so they come from the cache.
        """
        return position if self.lm.attention.reuses_prefix and self.rereading is None else 0

    def rerun(self, embeds: Tensor, start: int, keep: int, per_layer: Tensor | None = None) -> Tensor:
        """Log-probabilities with other embeddings from position ``start`` on.

        Args:
            embeds: (B, S, d), for positions ``start`` to ``start`` + S.
            start: where it starts, as `first_run` says.
            keep: at how many of the last positions to predict.
            per_layer: (B, S, ...), for models that read token ids beside the embeddings; None for the sequence's own.

        Returns:
            (B, keep, V).
        """
        if self.rereading is not None:
            return self.rereading.log_probs(embeds, keep)
        stop = start + embeds.shape[1]
        return self.lm.log_probs(
            embeds,
            _positions(self.position_ids, start, stop),
            keep=keep,
            start=start,
            cache=self._prefix(start),
            per_layer=_part(self.per_layer, start, stop) if per_layer is None else per_layer,
        )

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

    @torch.no_grad()
    def entering(self, layer: int) -> Tensor:
        """The hidden states (T, d) that enter a layer."""
        if layer not in self._entering:
            cache = DynamicCache() if self.lm.attention.reuses_prefix else None
            with recorded({layer: self.lm.layer(layer)}) as calls:
                if self.rereading is not None:
                    self.rereading.log_probs(self.embeds[None], 1)
                for start, stop in self.lm.pieces(len(self.embeds)) if self.rereading is None else ():
                    self.lm.log_probs(
                        self.embeds[None, start:stop],
                        _positions(self.position_ids, start, stop),
                        start=start,
                        cache=cache,
                        per_layer=_part(self.per_layer, start, stop),
                    )
            self._entering[layer] = torch.cat([call.hidden_states[0] for call in calls[layer]])
        return self._entering[layer]

    def _prefix(self, length: int) -> Cache | None:
        return prefix_cache(self.past, length) if length else None


@torch.no_grad()
def trace_of(
    lm: CausalLM,
    embeds: Tensor,
    n_outputs: int,
    *,
    position_ids: Tensor | None = None,
    per_layer: Tensor | None = None,
    residuals: bool = False,
    published: bool = False,
    rereading: Rereading | None = None,
) -> Trace:
    """Run the whole sequence once and keep what the terms of HETA read from it. Call within `CausalLM.ready`.

    Args:
        lm: the model.
        embeds: (T, d), the prompt and all outputs but the last.
        n_outputs: K, the number of outputs; they are predicted at the last K positions.
        position_ids: (T,), if they are not 0 to T - 1; (A, T) for a rotary embedding with A axes.
        per_layer: what `LanguageModel.per_layer` gives for the token ids.
        residuals: keep the residual stream around each layer's attention too.
        published: keep what `captum_heta.terms.published_flow` reads of each layer too.
        rereading: how a sequence with pictures or sound is run, where its embeddings are not all of it.

    Raises:
        TypeError: for ``residuals`` and for ``published``, if the model's are not known; says why.
    """
    forms = lm.attention.residual_forms if residuals else []
    entered = [number for number, form in enumerate(forms) if not form.of_given]
    reading = LayerReading(lm, entered, lm.attention.published_weights if published else None)
    # without a config: sliding-window layers keep every value too
    cache = DynamicCache() if lm.attention.takes_cache else None
    log_probs, starts = [], []
    with reading:
        if rereading is not None:
            starts.append(0)
            log_probs.append(rereading.log_probs(embeds[None], n_outputs, cache)[0])
        for start, stop in lm.pieces(len(embeds)) if rereading is None else ():
            starts.append(start)
            predicted = min(stop - start, stop - (len(embeds) - n_outputs))
            found = lm.log_probs(
                embeds[None, start:stop],
                _positions(position_ids, start, stop),
                keep=max(predicted, 1),
                start=start,
                cache=cache,
                per_layer=_part(per_layer, start, stop),
            )
            if predicted > 0:
                log_probs.append(found[0])
    past = [KeysValues(keys, values) for keys, values, *_ in cache or ()]
    layers = reading.layers(starts, past, forms)
    return Trace(lm, embeds, torch.cat(log_probs), layers, past, position_ids, per_layer, rereading)


def _part(tensor: Tensor | None, start: int, stop: int) -> Tensor | None:
    return None if tensor is None else tensor[start:stop]


def _positions(positions: Tensor | None, start: int, stop: int) -> Tensor | None:
    return None if positions is None else positions[..., start:stop]
