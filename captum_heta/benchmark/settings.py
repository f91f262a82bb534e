"""What a benchmark was run with, kept beside its results so that other settings are not mixed in."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock

from captum_heta.benchmark.lines import replace_whole
from captum_heta.datasets import Example

_FILE = "settings.json"
_PACKAGES = ("captum", "numpy", "torch", "transformers")


@dataclass(frozen=True)
class Settings:
    """All that the numbers of a line depend on. Other examples and methods may join the same folder.

    Attributes:
        model: id or folder of the model, and its number of parameters.
        dtype: of its weights.
        metrics: the names of the metrics.
        options: arguments of methods, by short names.
        draws: of each metric that draws.
        seed: of everything that draws.
        max_tokens: prompts are cut to so many tokens, at the start; None for the model's own limit.
        bos: whether the tokenizer's beginning-of-text token is put before prompts.
        answered: whether examples are left out whose target the model does not predict.
        versions: of the packages.
    """

    model: str
    dtype: str
    metrics: tuple[str, ...]
    options: Mapping[str, Mapping[str, Any]]
    draws: int
    seed: int
    max_tokens: int | None
    bos: bool
    answered: bool
    versions: Mapping[str, str]

    def join(self, folder: Path, data: Mapping[str, Sequence[Example]]) -> None:
        """Write the settings to a folder, or check that the results there are of the same ones.

        Args:
            folder: made if it is not there.
            data: the examples by data set; those of the same name must be the same, or some of the same.

        Raises:
            ValueError: if the folder has results of other settings; names those that differ.
            OSError: if the folder cannot be written to.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / _FILE
        mine = json.loads(json.dumps(asdict(self)))
        prints = {name: {item.id: _print(item) for item in items} for name, items in data.items()}
        with FileLock(folder / "settings.lock"):  # several processes start at once
            before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"data": {}}
            others = [name for name in mine if name in before and before[name] != mine[name]]
            if others:
                told = "; ".join(f"{name} is {before[name]!r} there and {mine[name]!r} here" for name in others)
                raise ValueError(f"{folder} has results of other settings: {told}. Choose another folder.")
            for name, items in prints.items():
                known = before["data"].setdefault(name, {})
                changed = [item for item in items if item in known and known[item] != items[item]]
                if changed:
                    raise ValueError(
                        f"{folder} has results of another example {changed[0]!r} in {name}. Choose another folder."
                    )
                known.update(items)
            replace_whole(path, json.dumps(mine | {"data": before["data"]}, indent=1, ensure_ascii=False) + "\n")


def versions() -> dict[str, str]:
    """Of this package and of those that the numbers depend on."""
    import captum_heta

    return {"captum_heta": captum_heta.__version__} | {name: version(name) for name in _PACKAGES}


def _print(item: Example) -> str:
    """A short fingerprint of an example."""
    return hashlib.sha256(json.dumps(asdict(item), sort_keys=True).encode()).hexdigest()[:16]
