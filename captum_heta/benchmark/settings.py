"""What a benchmark was run with, kept beside its results so that other settings are not mixed in."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from captum_heta.benchmark.lines import MERGED, OF_ALL, as_json
from captum_heta.checks import check_count, check_seed
from captum_heta.datasets import Example
from captum_heta.files import write_whole

# fingerprints of examples, by data set and id
Prints = dict[str, dict[str, str]]

_FILE = "settings.json"
# what a benchmark writes beside it, and must not take from others or write over
_RESULTS = (OF_ALL, MERGED, "report.md", "report.csv")


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

    Raises:
        ValueError: for numbers that are none of these.
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

    def __post_init__(self) -> None:
        # as Python's own numbers, which JSON takes
        object.__setattr__(self, "draws", check_count("draws", self.draws))
        object.__setattr__(self, "seed", check_seed(self.seed))
        if self.max_tokens is not None:
            object.__setattr__(self, "max_tokens", check_count("max_tokens", self.max_tokens))

    def join(self, folder: Path, data: Mapping[str, Sequence[Example]]) -> None:
        """Write the settings to a folder, or check that the results there are of the same ones.

        Args:
            folder: made if it is not there.
            data: the examples by data set; those of the same name must be the same, or some of the same.

        Raises:
            ValueError: if the folder has results of other settings (names those that differ), or results without
                settings, or settings that are damaged.
            OSError: if the folder cannot be written to.
        """
        path = folder / _FILE
        mine = json.loads(json.dumps(asdict(self)))
        prints = {name: {item.id: _print(item) for item in items} for name, items in data.items()}
        with _alone(folder):  # several processes start at once
            before = _stored(path) if path.exists() else _nothing(folder)
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
            write_whole(path, as_json(mine | {"data": before["data"]}, indent=1) + "\n")


def examples_in(folder: Path) -> Prints:
    """The examples that joined a folder, by data set and id.

    Raises:
        ValueError: if its settings are damaged.
        FileNotFoundError: if it has none.
    """
    return _stored(folder / _FILE)["data"]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The folder, made if it is not there, and nobody else changes its settings."""
    lock = FileLock(folder / "settings.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise OSError(f"{folder} must be a folder that can be written to, for the results: {error}.") from error
    try:
        yield
    finally:
        lock.release()


def _nothing(folder: Path) -> dict[str, Any]:
    """What a new folder has settings of.

    Raises:
        ValueError: if it has results, of which nobody knows what they were made with.
    """
    there = [found for pattern in _RESULTS for found in sorted(folder.glob(pattern))]
    if there:
        raise ValueError(
            f"{folder} has {there[0].name} but no {_FILE}, which says what results were made with. Put it back, or "
            "choose another folder."
        )
    return {"data": {}}


def _stored(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes().decode("utf-8"))
        problem = "it does not say what the results are of"
    except (ValueError, RecursionError) as error:
        found, problem = None, f"it is no JSON ({error})"
    data = found.get("data") if isinstance(found, dict) else None
    if not isinstance(data, dict) or not all(map(_are_prints, data.values())):
        raise ValueError(
            f"{path} is damaged: {problem}. Without it nobody knows what the results beside it were made with: put it "
            "back, or choose another folder."
        )
    return found


def _are_prints(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())


def _print(item: Example) -> str:
    """A short fingerprint of an example."""
    return hashlib.sha256(json.dumps(asdict(item), sort_keys=True).encode()).hexdigest()[:16]
