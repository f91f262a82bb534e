"""Rotary embeddings whose frequencies depend on how long the text is that is read.

Such a model is causal only between two lengths at which the frequencies change: LongRoPE has one pair of lengths (up to
``original_max_position_embeddings`` and above, arXiv 2402.13753), dynamic NTK scaling new frequencies for each length
above the one that it was trained for. Keys that were cached at one length are then wrong at another.
"""

from typing import Any

import torch
from torch import Tensor, nn

from captum_heta.models.configs import layer_configs
from captum_heta.models.records import Changes

_LONGROPE, _DYNAMIC, _LINEAR = "longrope", "dynamic", "linear"


class Lengths:
    """How the rotary embedding of a model depends on the length of the text.

    Args:
        config: the configuration of the text model.
    """

    def __init__(self, config: Any) -> None:
        layers = layer_configs(config)
        positions = [getattr(layer, "max_position_embeddings", None) for layer in layers]
        known = [count for count in positions if isinstance(count, int) and count > 0]  # XLNet has -1
        self._positions: int | None = min(known, default=None)
        self._parameters = [parameters for layer in layers for parameters in _rope_parameters(layer)]

    def regime(self, length: int) -> int:
        """A number that is the same for lengths at which the model has the same frequencies; 0 for short texts."""
        return max((self._of(parameters, length) for parameters in self._parameters), default=0)

    @property
    def remembered(self) -> bool:
        """Whether a model that has read a longer text reads shorter ones otherwise from then on."""
        return any(_kind(parameters) == _DYNAMIC for parameters in self._parameters)

    @property
    def limit(self) -> int | None:
        """How many positions a text may have; None for no limit."""
        if self._positions is None or any(_kind(parameters) == _DYNAMIC for parameters in self._parameters):
            return None
        factors = [float(p.get("factor") or 1) for p in self._parameters if _kind(p) == _LINEAR]
        return int(self._positions * max(factors, default=1))

    def _of(self, parameters: dict[str, Any], length: int) -> int:
        trained = parameters.get("original_max_position_embeddings") or self._positions or 0
        if _kind(parameters) == _LONGROPE:
            return int(length > trained)
        if _kind(parameters) == _DYNAMIC and length > (self._positions or 0):
            return length
        return 0


def _rope_parameters(config: Any) -> list[dict[str, Any]]:
    """The parameters of each rotary embedding; some models have one for each type of layer."""
    given = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    if not isinstance(given, dict):
        return []
    nested = [value for value in given.values() if isinstance(value, dict)]
    found = [dict(parameters) for parameters in nested or [given]]
    for parameters in found:
        # Phi-3 keeps it beside
        parameters.setdefault(
            "original_max_position_embeddings", getattr(config, "original_max_position_embeddings", None)
        )
    return found


def _kind(parameters: dict[str, Any]) -> str:
    return str(parameters.get("rope_type") or parameters.get("type") or "default")


def keep_frequencies(model: nn.Module, changes: Changes) -> None:
    """Note what the rotary embeddings keep of the texts they have seen, and the multimodal ones of their images."""
    attributes = [
        (module, name, value)
        for module in model.modules()
        for name, value in [*vars(module).items(), *module.named_buffers(recurse=False)]
        if (name.endswith(("inv_freq", "max_seq_len_cached", "attention_scaling")) and _depends(module))
        or name == "rope_deltas"  # of the Qwen-VL models
    ]
    if not attributes:
        return
    kept = [
        (module, name, value, value.clone() if isinstance(value, Tensor) else None)
        for module, name, value in attributes
    ]

    @torch.no_grad()
    def undo() -> None:
        for module, name, value, content in kept:
            if content is not None:  # LongRoPE writes into the tensor that is there
                value.copy_(content)
            setattr(module, name, value)

    changes.note(undo)


def _depends(module: nn.Module) -> bool:
    kinds = getattr(module, "rope_type", "default")
    return any(kind in (_LONGROPE, _DYNAMIC) for kind in (kinds.values() if isinstance(kinds, dict) else [kinds]))
