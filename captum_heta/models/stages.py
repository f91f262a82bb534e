"""A model cut into its layers, to be differentiated one at a time."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from captum_heta.models.calls import Call, before, first, recorded, replaced_input, replaced_output

Stage = Callable[[Tensor], Tensor]


class _Reached(Exception):  # noqa: N818
    """Ends a pass at the first layer, with what it would have been given."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


def split(predict: Callable[[Tensor], Tensor], layers: nn.ModuleList, embeds: Tensor) -> tuple[list[Stage], Stage]:
    """``predict`` as a chain: what comes before the first layer, each layer, and what comes after the last.

    Layers are given what they were given in a pass with ``embeds``, other than their hidden states: masks, rotary
    embeddings and the cache of a prefix, which a pass leaves as it is.

    Args:
        predict: embeddings (1, S, d) to log-probabilities.
        layers: those of the model behind ``predict``.
        embeds: (1, S, d).

    Returns:
        The stages up to the last layer, hidden states to hidden states; and the one to the log-probabilities.
    """
    with torch.no_grad(), recorded(dict(enumerate(layers))) as calls:
        predict(embeds)

    def below(x: Tensor) -> Tensor:
        def stop(arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            raise _Reached(Call(arguments, named).hidden_states)

        with before(layers[0], stop):
            try:
                predict(x)
            except _Reached as reached:
                return reached.states
        raise AssertionError("the first layer was not called")

    def after(states: Tensor) -> Tensor:
        with replaced_output(layers[-1], states):  # the layers below compute in vain, once
            return predict(embeds)

    return [below, *(_stage(layer, calls[i][0]) for i, layer in enumerate(layers))], after


def _stage(layer: nn.Module, call: Call) -> Stage:
    def run(states: Tensor) -> Tensor:
        with replaced_input(layer, states):
            output = layer(*call.arguments, **call.named)
        return first(output)

    return run
