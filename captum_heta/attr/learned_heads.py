"""Weights of a model's attention heads, as they are learned and kept."""

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from captum_heta.files import write_whole
from captum_heta.stored import as_json, check_format, field, is_number, listed, need, numbers, read_json, text

_FORMAT = 1


class HeadWeights(NamedTuple):
    """What was learned of one model.

    Attributes:
        weights: of the heads of each layer, (H,) each, float32, the first layer first.
        model: the class of the model.
        examples: from how many.
        correlation: of what they predict with what leaving sources out did, mean over the examples.
    """

    weights: tuple[Tensor, ...]
    model: str
    examples: int
    correlation: float

    def save(self, file: str | Path) -> None:
        """Write them as JSON.

        Raises:
            ValueError: for numbers that are not finite.
            OSError: if it cannot be written.
        """
        layers = [listed("AT2", one) for one in self.weights]
        write_whole(file, as_json({"format": _FORMAT, "kind": "heads", **self._asdict(), "weights": layers}))

    @classmethod
    def load(cls, file: str | Path) -> "HeadWeights":
        """What `save` wrote.

        Raises:
            ValueError: for another file; says what is wrong with it.
            OSError: if it cannot be read.
        """
        return read_json(file, "weights of heads", _from_record)


def _from_record(found: Any) -> HeadWeights:
    check_format(found, _FORMAT)
    need(found.get("kind") == "heads", "kind", "'heads'", found.get("kind"))
    layers, examples, value = (field(found, name) for name in ("weights", "examples", "correlation"))
    need(isinstance(layers, list) and bool(layers), "weights", "a list for each layer", layers)
    for layer in layers:
        need(isinstance(layer, list) and bool(layer), "weights", "a number for each head", layer)
    need(type(examples) is int and examples > 0, "examples", "a count", examples)
    need(is_number(value), "correlation", "a number", value)
    weights = tuple(numbers("weights", layer, len(layer)) for layer in layers)
    return HeadWeights(weights, text(found, "model"), examples, float(value))
