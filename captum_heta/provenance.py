"""What numbers were made with: the model, the versions, the time."""

from collections.abc import Mapping
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import version
from typing import Any

_PACKAGES = ("captum", "numpy", "torch", "transformers")


@cache  # it reads files, and results are made in loops
def _installed() -> dict[str, str]:
    return {name: version(name) for name in _PACKAGES}


def versions() -> dict[str, str]:
    """Of this package and of those that the numbers depend on."""
    from captum_heta import __version__  # not above, as the package's names lead here

    return {"captum_heta": __version__} | _installed()


def of_model(model: Any) -> dict[str, str]:
    """What a model of transformers is: where it came from, its class and size, its precision and its device."""
    name = getattr(getattr(model, "config", None), "name_or_path", "") or "without a name"
    count = sum(parameter.numel() for parameter in model.parameters())
    weight = model.get_input_embeddings().weight
    return {
        "model": name,
        "class": type(model).__name__,
        "parameters": f"{count:,}",
        "dtype": str(weight.dtype).removeprefix("torch."),
        "device": str(weight.device),
    }


def now() -> str:
    """The date and time, in UTC to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def in_words(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values to show, those that say nothing left out."""
    shown = {
        name: ", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, Mapping) else str(value)
        for name, value in provenance.items()
        if value is not None
    }
    return [(name, text) for name, text in shown.items() if text]
