"""A Hugging Face decoder-only language model as the terms of HETA see it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from captum_heta.models.attention_check import AttentionFindings
from captum_heta.models.calls import attention_weights, recorded, replaced_input
from captum_heta.models.families import OUTPUT_PROJECTIONS, VALUE_PROJECTIONS, attention_candidates, decoder_layers
from captum_heta.models.language_model import LanguageModel
from captum_heta.models.memory import graph_fits, layer_rows, query_rows
from captum_heta.models.stages import Stage, split
from captum_heta.models.state import differentiable, evaluating
from captum_heta.models.trace import AttentionLayer, KeysValues, Trace


class CausalLM(LanguageModel):
    """A language model with attention in every layer: one pass that also reads it, and derivatives.

    Args:
        model: a causal language model of transformers, or anything with its interface.

    Raises:
        TypeError: if ``model`` is no such model, is an encoder-decoder, or has layers without attention.
    """

    compared_with_ids: ClassVar[tuple[str, ...]] = ("embeddings", "prefix")

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        candidates = attention_candidates(self.model)
        missing = [layer for layer in range(self.n_layers) if layer not in candidates]
        if missing:
            raise TypeError(
                f"{type(self.model).__name__} has no attention that HETA can read in layer(s) {missing}. The semantic "
                f"flow needs, in every layer, a module with a `layer_idx`, one of {', '.join(VALUE_PROJECTIONS)} and "
                f"one of {', '.join(OUTPUT_PROJECTIONS)}; state-space and hybrid models have none."
            )
        self.attention = AttentionFindings(self, candidates)

    def graph_fits(self, length: int) -> bool:
        """Whether the graph of a gradient over ``length`` positions may be kept whole."""
        return graph_fits(self.model, self.device, length) or self._layers is None

    def layer_rows(self, length: int) -> int:
        """How many Hessian products over ``length`` positions at once fit when graphs are made layer by layer."""
        return layer_rows(self.model, self.device, length)

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Within this context the model can be traced and differentiated twice; afterwards it is as it was.

        Raises:
            TypeError: on entry, if the model does something that would make the numbers wrong; says what.
        """
        with evaluating(self.model):
            # as a person runs it: its fast attention may see what its eager attention does not
            self.findings.begin()
            self.findings.check_ids()
            with differentiable(self.model):
                self.attention.check()
                yield

    @torch.no_grad()
    def trace(
        self, embeds: Tensor, n_outputs: int, *, position_ids: Tensor | None = None, per_layer: Tensor | None = None
    ) -> Trace:
        """Run the whole sequence once and keep what the terms of HETA read from it. Call within `ready`.

        Args:
            embeds: (T, d), the prompt and all outputs but the last.
            n_outputs: K, the number of outputs; they are predicted at the last K positions.
            position_ids: (T,), if they are not 0 to T - 1.
            per_layer: what `per_layer` gives for the token ids.
        """
        cache = DynamicCache()  # without a config: sliding-window layers keep every value too
        log_probs, starts = [], []
        with recorded({index: module for index, (module, _) in self.attention.modules.items()}) as calls:
            for start, stop in self._pieces(len(embeds)):
                starts.append(start)
                predicted = min(stop - start, stop - (len(embeds) - n_outputs))
                found = self.log_probs(
                    embeds[None, start:stop],
                    _part(position_ids, start, stop),
                    keep=max(predicted, 1),
                    start=start,
                    cache=cache,
                    per_layer=_part(per_layer, start, stop),
                )
                if predicted > 0:
                    log_probs.append(found[0])
        past = [KeysValues(keys, values) for keys, values, *_ in cache]

        def weights(index: int) -> Iterator[tuple[int, Tensor]]:
            for start, call in zip(starts, calls[index], strict=True):
                found = attention_weights(self.attention.modules[index][0], call, past, start)
                if found is None:
                    raise RuntimeError(
                        f"{type(self.model).__name__} returned no attention weights in layer {index} (attention "
                        f"implementation: {self.model.config._attn_implementation}). Load it with "
                        "attn_implementation='eager'."
                    )
                yield start, found

        layers = [
            AttentionLayer(partial(weights, index), past[index].values[0], projection)
            for index, (_, projection) in self.attention.modules.items()
        ]
        return Trace(self, embeds, torch.cat(log_probs), layers, past, position_ids, per_layer)

    def layer_before_last(self, count: int) -> int:
        """The first of the last ``count`` layers.

        Raises:
            ValueError: if there are fewer.
        """
        layers = len(self.attention.candidates)
        if count > layers:
            raise ValueError(
                f"last_n_layers is {count}, and {type(self.model).__name__} has {layers} layers: pass at most as many, "
                "or None for the embeddings."
            )
        return layers - count

    def entering(self, layer: int, states: Tensor) -> AbstractContextManager[None]:
        """Within this context a layer is given ``states`` (B, S, d) in place of its own hidden states."""
        return replaced_input(self._layer(layer), states)

    @torch.no_grad()
    def states_entering(self, layer: int, trace: Trace) -> Tensor:
        """The hidden states (T, d) that enter a layer in a traced sequence."""
        cache = DynamicCache()
        with recorded({layer: self._layer(layer)}) as calls:
            for start, stop in self._pieces(len(trace.embeds)):
                self.log_probs(
                    trace.embeds[None, start:stop],
                    _part(trace.position_ids, start, stop),
                    start=start,
                    cache=cache,
                    per_layer=_part(trace.per_layer, start, stop),
                )
        return torch.cat([call.hidden_states[0] for call in calls[layer]])

    @property
    def _layers(self) -> nn.ModuleList | None:
        return decoder_layers(self.model, {layer: some[0] for layer, some in self.attention.candidates.items()})

    def _layer(self, layer: int) -> nn.Module:
        layers = self._layers
        if layers is None:
            raise TypeError(
                f"The layers of {type(self.model).__name__} are in no torch.nn.ModuleList: last_n_layers does not know "
                "where they begin. Leave it None."
            )
        return layers[layer]

    def split(self, predict: Stage, embeds: Tensor, first: int | None) -> tuple[list[Stage], Stage]:
        """``predict``, which runs this model on embeddings (1, S, d), as a chain of stages.

        Returns:
            What comes before the first layer and each layer, or the layers from ``first`` on; and what comes after.
        """
        assert self._layers is not None
        stages, after = split(predict, self._layers, embeds)
        return (stages if first is None else stages[1 + first :]), after

    def _pieces(self, length: int) -> list[tuple[int, int]]:
        # a long prompt in pieces: no layer then makes (T, T) numbers at once; each piece reads the ones before it from
        # the cache, where the model can, and where a piece is not too short for its rotary embedding
        rows = query_rows(self.model, self.device, length)
        if not self.attention.reuses_prefix or self.lengths.regime(length) != self.lengths.regime(1):
            rows = length
        return [(start, min(start + rows, length)) for start in range(0, length, rows)]


def _part(tensor: Tensor | None, start: int, stop: int) -> Tensor | None:
    return None if tensor is None else tensor[start:stop]
