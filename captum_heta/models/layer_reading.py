"""What the layers of a model do in a pass over a sequence, as far as the flows ask for it."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property, partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from captum_heta.models.calls import Call, recorded
from captum_heta.models.causal_lm import CausalLM
from captum_heta.models.interface import Attended, attention_weights, listening
from captum_heta.models.layers import AttentionLayer, Layer, Mixer, MixingLayer
from captum_heta.models.memory import Batch
from captum_heta.models.mixing import Attention, Others
from captum_heta.models.published import PublishedLayer, PublishedWeights
from captum_heta.models.residual import Form, Residual


class KeysValues(NamedTuple):
    """One layer's part of the cache, each (1, key-value heads, T, head size)."""

    keys: Tensor
    values: Tensor


class LayerReading:
    """Records what modules are given and attend to while a sequence goes through a model, in one piece or several.

    Args:
        lm: the model, within `CausalLM.ready`.
        entered: the numbers of the places of which what their layer is given is kept.
        published: for each place where the code that HETA's authors published finds weights, if that is read; with it
            what every layer is given is kept.
    """

    def __init__(
        self, lm: CausalLM, entered: Sequence[int], published: Sequence[PublishedWeights | None] | None = None
    ) -> None:
        self.lm = lm
        self.places = lm.attention.places
        self.published = published
        entered = entered if published is None else range(len(self.places))
        self.entered = {number: self._layer(number) for number in entered}
        self.values: dict[int, Tensor] = {}
        self.gathered: dict[int, list[Tensor]] = {}
        self._stack = ExitStack()

    def _layer(self, number: int) -> nn.Module:
        """That of a place."""
        return self._layers[self.places[number].layer]

    @cached_property
    def _layers(self) -> nn.ModuleList:
        return self.lm.layer_list()

    def __enter__(self) -> None:
        modules = {
            (number, name): self.lm.attention.module(name)
            for number, place in enumerate(self.places)
            for name in (place.modules if isinstance(place, Others) else (place.module,))
        }
        attended = {
            number: place
            for number, place in enumerate(self.places)
            if isinstance(place, Attention) and place.at_interface
        }
        gated = {
            number: self.lm.attention.module(place.projection)
            for number, place in attended.items()
            if place.between == "gates"
        }
        self.gathered = {number: [] for number in gated}
        self.calls: dict[tuple[int, str], list[Call]] = self._stack.enter_context(recorded(modules))
        self.streams: dict[int, list[Call]] = self._stack.enter_context(recorded(self.entered))
        self.mixed: dict[int, list[Call]] = self._stack.enter_context(recorded(gated))
        self._stack.enter_context(
            listening(
                [(self.lm.attention.module(place.module), partial(self._hear, n)) for n, place in attended.items()]
            )
        )

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _hear(self, number: int, found: Attended) -> None:
        self.values[number] = found.values[0].detach()  # those of the last piece are all
        if number in self.gathered:
            product = found.product()
            assert product is not None  # as it was when gates were found
            self.gathered[number].append(product.detach())

    def layers(self, starts: Sequence[int], past: Sequence[KeysValues], forms: Sequence[Form]) -> list[Layer]:
        """What carried tokens on, the first layer first.

        Args:
            starts: the first position of each piece.
            past: the keys and values of each layer; empty without a cache.
            forms: how what is gathered at each place is added to the residual stream; empty if that is not followed.
        """
        found: list[Layer] = []
        for number, place in enumerate(self.places):
            form = forms[number] if forms else None
            if isinstance(place, Attention):
                found.append(self._attention(number, place, list(starts), past, form))
            else:
                found.append(self._mixing(number, place, form))
        return found

    def _attention(
        self, number: int, place: Attention, starts: list[int], past: Sequence[KeysValues], form: Form | None
    ) -> AttentionLayer:
        calls = self.calls[number, place.module]
        values = self.values.get(number)
        if values is None:
            values = past[self.lm.attention.slot(place)].values[0]
        return AttentionLayer(
            partial(self._weights, place, list(zip(starts, calls, strict=True)), past),
            values,
            self.lm.attention.module(place.projection),
            self._residual(number, form, calls),
            self._gates(number) if number in self.gathered else None,
            self._published(number),
        )

    def _mixing(self, number: int, place: Others, form: Form | None) -> MixingLayer:
        mixers = []
        for name, linear in zip(place.modules, place.linear, strict=True):
            (call,) = self.calls[number, name]
            mixers.append(Mixer(self.lm.attention.module(name), call, linear))
        length = mixers[0].call.hidden_states.shape[1]
        residual = self._residual(number, form, [mixers[0].call])
        shares = (1.0,) * len(mixers) if form is None else form.shares
        return MixingLayer(mixers, Batch(self.lm.batch_size(length, 1)), length, residual, shares)

    def _gates(self, number: int) -> Tensor:
        """By what each number of A V was multiplied, (T, H, size)."""
        made = torch.cat(self.gathered[number])
        given = torch.cat([call.hidden_states.flatten(0, -2) for call in self.mixed[number]]).reshape(made.shape)
        return torch.where(made == 0, 0, given / torch.where(made == 0, 1, made))

    def _published(self, number: int) -> PublishedLayer | None:
        if self.published is None:
            return None
        return PublishedLayer(self._given_to_layer(number), self.published[number])

    def _given_to_layer(self, number: int) -> Tensor:
        """(T, d)."""
        return torch.cat([call.hidden_states[0] for call in self.streams[number]])

    def _residual(self, number: int, form: Form | None, calls: Sequence[Call]) -> Residual | None:
        """The residual stream of a layer, from what was given to it or to its attention."""
        if form is None:
            return None
        norm = None if form.norm is None else self._layer(number).get_submodule(form.norm)
        given = torch.cat([call.hidden_states[0] for call in calls]) if form.of_given else self._given_to_layer(number)
        return Residual(given, form.kept, form.scale, norm)

    def _weights(
        self, place: Attention, calls: list[tuple[int, Call]], past: Sequence[KeysValues]
    ) -> Iterator[tuple[int, Tensor]]:
        """The attention weights of a layer, from its calls and the first query of each."""
        for start, call in calls:
            found = attention_weights(self.lm.attention.module(place.module), call, past, start)
            if found is None:
                raise RuntimeError(
                    f"{type(self.lm.model).__name__} returned no attention weights in layer {place.layer} (attention "
                    f"implementation: {self.lm.model.config._attn_implementation}). Load it with "
                    "attn_implementation='eager'."
                )
            yield start, found
