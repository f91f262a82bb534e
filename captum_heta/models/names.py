"""By which names a model takes what it is given."""

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers import Cache

# The cache of keys and values was renamed in transformers 5.24; the old name goes in 5.40.
_CACHES = ("cache", "past_key_values")


class ArgumentNames:
    """The arguments of a model's forward.

    Every forward of transformers takes ``**kwargs``: a name that it does not know is swallowed without a word. So
    nothing is passed that is not in a signature, and `captum_heta.models.selfcheck` finds out whether it has an effect.

    Args:
        model: of transformers, or an adapter around one that hands on what it does not know.
    """

    def __init__(self, model: Any) -> None:
        self.names = _names(model)

    def __contains__(self, name: str) -> bool:
        return name in self.names

    @property
    def takes_cache(self) -> bool:
        """Whether it takes a cache of keys and values."""
        return any(name in self.names for name in _CACHES)

    def given(self, keep: int | Tensor | None, cache: Cache | None) -> dict[str, Any]:
        """What asks for some positions only (None for all), with a cache if the model `takes_cache`, or without."""
        found: dict[str, Any] = {}
        if "use_cache" in self.names:
            found["use_cache"] = cache is not None
        if cache is not None:
            found[next(name for name in _CACHES if name in self.names)] = cache
        if keep is not None and "logits_to_keep" in self.names:
            found["logits_to_keep"] = keep
        return found


def kept(logits: Tensor, keep: int | Tensor | None, length: int) -> Tensor:
    """The logits (B, S, V) of the positions asked for, of a model that may have answered for all ``length``."""
    if keep is None:
        return logits
    if isinstance(keep, int):
        return logits[:, -keep:]
    return logits[:, keep.to(logits.device)] if logits.shape[1] == length else logits


def _names(model: Any) -> frozenset[str]:
    parameters = inspect.signature(model.forward).parameters
    found = frozenset(parameters)
    if all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return found
    inner = _inner(model)
    return found if inner is None else found | _names(inner)


def _inner(model: Any) -> Any:
    """What a model hands on to, what it does not know itself; None if it is not known what that is."""
    if hasattr(model, "peft_config") and hasattr(model, "get_base_model"):
        return model.get_base_model()
    # transformers' body below the head, and the text model in a body that reads pictures too
    for inner in (getattr(model, "base_model", None), getattr(model, "language_model", None)):
        if isinstance(inner, torch.nn.Module) and inner is not model:
            return inner
    return None
