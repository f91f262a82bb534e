"""What a configuration says of the layers of a model, which need not be alike."""

from collections.abc import Sequence
from typing import Any


def layer_configs(config: Any) -> Sequence[Any]:
    """The configurations of the layers of a text model: one for all, or one for each where they differ."""
    # such a configuration refuses to be asked for what differs (since transformers 5.10)
    return list(config.per_layer_config) if getattr(config, "is_heterogeneous", False) else [config]


def most_heads(config: Any) -> int:
    """The largest number of attention heads of a layer; 0 for models without attention."""
    return max(getattr(layer, "num_attention_heads", None) or 0 for layer in layer_configs(config))
