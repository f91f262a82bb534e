"""A Hugging Face decoder-only language model as the terms of HETA see it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache

from captum_heta.models.calls import attention_weights, recorded, replaced_input
from captum_heta.models.families import OUTPUT_PROJECTIONS, VALUE_PROJECTIONS, attention_modules, decoder_layers
from captum_heta.models.language_model import LanguageModel
from captum_heta.models.memory import graph_fits, layer_rows, query_rows
from captum_heta.models.stages import Stage, split
from captum_heta.models.state import ready_for_derivatives
from captum_heta.models.trace import AttentionLayer, KeysValues, Trace


class CausalLM(LanguageModel):
    """A language model with attention in every layer: one pass that also reads it, and derivatives.

    Args:
        model: a causal language model of transformers, or anything with its interface.

    Raises:
        TypeError: if ``model`` is no such model, is an encoder-decoder, or has layers without attention.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self._attention = attention_modules(model)
        missing = [layer for layer in range(self.n_layers) if layer not in self._attention]
        if missing:
            raise TypeError(
                f"{type(model).__name__} has no attention that HETA can read in layer(s) {missing}. The semantic flow "
                f"needs, in every layer, a module with a `layer_idx`, one of {', '.join(VALUE_PROJECTIONS)} and one of "
                f"{', '.join(OUTPUT_PROJECTIONS)}; state-space and hybrid models have none."
            )

    @property
    def is_quantized(self) -> bool:
        """Whether some weights are quantized, whose kernels are written for inference."""
        return getattr(self.model.config, "quantization_config", None) is not None

    def graph_fits(self, length: int) -> bool:
        """Whether the graph of a gradient over ``length`` positions may be kept whole."""
        return graph_fits(self.model, self.device, length) or self._layers is None

    def layer_rows(self, length: int) -> int:
        """How many Hessian products over ``length`` positions at once fit when graphs are made layer by layer."""
        return layer_rows(self.model, self.device, length)

    def ready(self) -> AbstractContextManager[None]:
        """Within this context the model can be traced and differentiated twice; afterwards it is as it was."""
        return ready_for_derivatives(self.model)

    def log_probs(self, embeds: Tensor, position_ids: Tensor, past: Cache | None, keep: int) -> Tensor:
        """Next-token log-probabilities.

        Args:
            embeds: (B, S, d), the input embeddings of S consecutive tokens.
            position_ids: (S,), their positions.
            past: the cache of the tokens before them; grows by this call.
            keep: at how many of the last positions to predict.

        Returns:
            (B, keep, V), in float32 or better, on the device of ``embeds``.
        """
        arguments: dict[str, Any] = {"past_key_values": past, "use_cache": past is not None, "logits_to_keep": keep}
        if self.takes_position_ids:
            arguments["position_ids"] = position_ids.expand(embeds.shape[0], -1)
        logits = self.model(inputs_embeds=embeds, **arguments).logits[:, -keep:]
        logits = logits.to(embeds.device, torch.promote_types(logits.dtype, torch.float32))
        return torch.log_softmax(logits, dim=-1)

    @torch.no_grad()
    def trace(self, embeds: Tensor, position_ids: Tensor, n_outputs: int) -> Trace:
        """Run the whole sequence once and keep what the terms of HETA read from it. Call within `ready`.

        Args:
            embeds: (T, d), the prompt and all outputs but the last.
            position_ids: (T,).
            n_outputs: K, the number of outputs; they are predicted at the last K positions.
        """
        cache = DynamicCache()  # without a config: sliding-window layers keep every value too
        log_probs, starts = [], []
        with recorded({index: module for index, (module, _) in self._attention.items()}) as calls:
            for start, stop in self._pieces(len(embeds)):
                starts.append(start)
                predicted = min(stop - start, stop - (len(embeds) - n_outputs))
                found = self.log_probs(embeds[None, start:stop], position_ids[start:stop], cache, max(predicted, 1))
                if predicted > 0:
                    log_probs.append(found[0])
        past = [KeysValues(keys, values) for keys, values, *_ in cache]

        def weights(index: int) -> Iterator[tuple[int, Tensor]]:
            for start, call in zip(starts, calls[index], strict=True):
                found = attention_weights(self._attention[index][0], call, past, start)
                if found is None:
                    raise RuntimeError(
                        f"{type(self.model).__name__} returned no attention weights in layer {index} (attention "
                        f"implementation: {self.model.config._attn_implementation}). Load it with "
                        "attn_implementation='eager'."
                    )
                yield start, found

        layers = [
            AttentionLayer(partial(weights, index), past[index].values[0], projection)
            for index, (_, projection) in self._attention.items()
        ]
        return Trace(self, embeds, position_ids, torch.cat(log_probs), layers, past)

    def layer_before_last(self, count: int) -> int:
        """The first of the last ``count`` layers.

        Raises:
            ValueError: if there are fewer.
        """
        if count > len(self._attention):
            raise ValueError(
                f"last_n_layers is {count}, and {type(self.model).__name__} has {len(self._attention)} layers: pass at "
                "most as many, or None for the embeddings."
            )
        return len(self._attention) - count

    def entering(self, layer: int, states: Tensor) -> AbstractContextManager[None]:
        """Within this context a layer is given ``states`` (B, S, d) in place of its own hidden states."""
        return replaced_input(self._layer(layer), states)

    @torch.no_grad()
    def states_entering(self, layer: int, embeds: Tensor, position_ids: Tensor) -> Tensor:
        """The hidden states (T, d) that enter a layer when the embeddings are (T, d)."""
        cache = DynamicCache()
        with recorded({layer: self._layer(layer)}) as calls:
            for start, stop in self._pieces(len(embeds)):
                self.log_probs(embeds[None, start:stop], position_ids[start:stop], cache, keep=1)
        return torch.cat([call.hidden_states[0] for call in calls[layer]])

    @property
    def _layers(self) -> nn.ModuleList | None:
        return decoder_layers(self.model, self._attention)

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
        # a long prompt in pieces: no layer then makes (T, T) numbers at once
        rows = query_rows(self.model, self.device, length)
        return [(start, min(start + rows, length)) for start in range(0, length, rows)]
