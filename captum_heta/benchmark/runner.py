"""The benchmark: every row on every example, a line of JSON each, from where it was left."""

import random
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from captum.attr import TextTokenInput
from torch import Tensor

from captum_heta.benchmark.case import Case, UnfitError, case_of
from captum_heta.benchmark.lines import Shard, merge, placed_lines
from captum_heta.benchmark.metrics import METRICS, Explained, check_metrics
from captum_heta.benchmark.rows import RowGroup, is_label, row_groups
from captum_heta.benchmark.settings import Prints, Settings, examples_in
from captum_heta.benchmark.shape import Key, key_of
from captum_heta.checks import check_count
from captum_heta.comparison import Comparison, compare
from captum_heta.datasets import Example
from captum_heta.models import LanguageModel, seeded

Data = Mapping[str, Sequence[Example]]


@dataclass
class Benchmark:
    """What is run, on what, and where the lines go.

    Attributes:
        model: a causal language model.
        tokenizer: of the model.
        data: examples by data set.
        rows: names as in `captum_heta.benchmark.rows.GRAMMAR`.
        settings: all else that the numbers depend on.
        folder: of the results.
        rank: the number of this process.
        processes: how many there are; each takes its part of the examples.

    Raises:
        ValueError: for rows, metrics or numbers that are none, two examples with the same id, and a folder whose
            results are of something else or damaged.
        OSError: if the folder cannot be written to.
        ImportError: for a row of a package that is not installed.
    """

    model: Any
    tokenizer: Any
    data: Data
    rows: Sequence[str]
    settings: Settings
    folder: Path
    rank: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        settings = self.settings
        check_metrics(settings.metrics)
        if check_count("rank", self.rank, least=0) >= check_count("processes", self.processes):
            raise ValueError(f"rank must be below processes, {self.processes}, got {self.rank}.")
        self._groups = row_groups(self.rows, self.model, settings.options, settings.seed, self.tokenizer)
        for name, items in self.data.items():
            if len({item.id for item in items}) < len(items):
                raise ValueError(f"Two examples of {name} have the same id.")
        settings.join(self.folder, self.data)
        self._done()

    @property
    def labels(self) -> list[str]:
        """The rows, as tables name them."""
        return [label for group in self._groups for label in group.rows]

    def run(self, retry_failed: bool = False) -> Iterator[int]:
        """Do what is not done yet of this process's part, and yield how many of its attributions are done.

        Args:
            retry_failed: attribute again what failed before, in this process's file.
        """
        mine = [(data, item) for data, items in self.data.items() for item in items][self.rank :: self.processes]
        with Shard(self.folder, self.rank) as shard:
            if retry_failed:
                shard.drop_failures()
            done = self._done()
            count = 0
            yield count
            for data, item in mine:
                keys = [[Key(data, item.id, label) for label in group.rows] for group in self._groups]
                missing = [any(key not in done for key in some) for some in keys]
                case = self._case(item) if any(missing) else None
                for group, some, needed in zip(self._groups, keys, missing, strict=True):
                    if needed and case is not None:
                        wanted = [key for key in some if key not in done]
                        shard.append(self._lines(group, wanted, case))
                    count += 1
                    yield count

    @property
    def attributions(self) -> int:
        """How many attributions are this process's part."""
        examples = sum(map(len, self.data.values()))
        return len(range(self.rank, examples, self.processes)) * len(self._groups)

    def results(self) -> list[dict[str, Any]] | None:
        """All lines in order, also written to ``results.jsonl``; None if another process has not finished its part."""
        keys = [
            Key(data, item.id, label) for data, items in self.data.items() for item in items for label in self.labels
        ]
        return merge(self.folder, self._done(), keys)

    def _done(self) -> dict[Key, dict[str, Any]]:
        """The lines of all processes.

        Raises:
            ValueError: if one is damaged, or not of this benchmark.
        """
        there = placed_lines(self.folder)
        known = examples_in(self.folder)  # after the lines, as others may join and write at any time
        for place, line in there:
            problem = self._foreign(line, known)
            if problem is not None:
                raise place.error(f"is not of this benchmark: {problem}")
        return {key_of(line): line for _, line in there}

    def _foreign(self, line: dict[str, Any], known: Prints) -> str | None:
        """Why a line is of something else, if it is."""
        key, metrics = key_of(line), self.settings.metrics
        if key.example not in known.get(key.data, {}):
            return f"no example {key.example!r:.80} of {key.data!r:.80} joined this folder"
        if not is_label(key.method):
            return f"there is no row {key.method!r:.80}"
        if "metrics" in line and set(line["metrics"]) != set(metrics):
            return f"its metrics are {', '.join(line['metrics']) or 'none'}, and not {', '.join(metrics)}"
        return None

    def _case(self, item: Example) -> Case | dict[str, str]:
        """The case of an example, or why there is none as a line says it."""
        settings = self.settings
        try:
            lm = LanguageModel(self.model)
            return case_of(item, self.tokenizer, lm, settings.max_tokens, settings.bos, settings.answered)
        except UnfitError as reason:
            return {"skipped": _printable(str(reason))}
        except Exception as error:  # of whatever kind: it is this example's, told in its lines, and the others go on
            return {"error": _told(error)}

    def _lines(self, group: RowGroup, keys: Sequence[Key], case: Case | dict[str, str]) -> list[dict[str, Any]]:
        if not isinstance(case, Case):
            return [key._asdict() | case for key in keys]
        try:
            found = self._attributed(group, case.inp, case.output, case.example.id)
        except Exception as error:  # as above
            return [key._asdict() | {"error": _told(error)} for key in keys]
        if found.failures:
            (failure,) = found.failures.values()
            return [key._asdict() | {"error": _printable(str(failure))} for key in keys]
        (result,), (seconds,) = found.results.values(), found.seconds.values()
        about = {"target": found.target, "tokens": len(case.spans)}
        spent = {} if group.timed is None else {group.timed: {"seconds": round(seconds, 4)}}
        return [
            key._asdict() | about | spent.get(key.method, {}) | self._measured(group, key, case, result) for key in keys
        ]

    def _measured(self, group: RowGroup, key: Key, case: Case, result: Any) -> dict[str, Any]:
        """Scores and metrics; a metric that fails has no value, and why is told beside the others."""
        try:
            scores = group.rows[key.method](result).detach().cpu()
        except Exception as error:  # as above
            return {"error": _told(error)}
        if not torch.isfinite(scores).all():
            return {"error": "ValueError: its scores are not finite."}

        def explain(inp: TextTokenInput, output: Tensor) -> Tensor:
            again = self._attributed(group, inp, output, case.example.id)
            if again.failures:
                raise RuntimeError(str(next(iter(again.failures.values()))))
            return group.rows[key.method](next(iter(again.results.values()))).detach()

        settings = self.settings
        explained = Explained(self.model, self.tokenizer, case, scores, explain, settings.draws, settings.seed)
        metrics: dict[str, float | None] = {}
        failed = []
        for name in settings.metrics:
            try:
                metrics[name] = METRICS[name].value(explained)
            except Exception as error:  # as above
                metrics[name] = None
                failed.append(f"{name}: {_told(error)}")
        told = {"error": "; ".join(failed)} if failed else {}
        return {"metrics": metrics, "scores": scores.tolist()} | told

    def _attributed(self, group: RowGroup, inp: TextTokenInput, output: Tensor, example: str) -> Comparison:
        """The result of one method, with draws that depend on the example and on no other."""
        seed = zlib.crc32(f"{self.settings.seed}|{example}".encode(errors="surrogatepass"))
        method = group.method
        if method is None:
            generator = torch.Generator(device="cpu").manual_seed(seed)

            def method(prompt: str, target: str) -> Tensor:
                return torch.rand(inp.n_itp_features, generator=generator, device="cpu")

        with seeded(seed):  # Captum's methods draw from torch's global state
            return compare({"": method}, self.tokenizer, inp, output, options={"": group.options})


def chosen(examples: Sequence[Example], limit: int | None, seed: int) -> list[Example]:
    """``limit`` random examples in their own order; files are often sorted, so the first would be of one kind.

    Raises:
        ValueError: unless ``limit`` is a whole number of at least 1, or None.
    """
    if limit is None or check_count("limit", limit) >= len(examples):
        return list(examples)
    places = sorted(random.Random(seed).sample(range(len(examples)), limit))
    return [examples[place] for place in places]


def _told(error: Exception) -> str:
    return _printable(f"{type(error).__name__}: {error}")


def _printable(text: str) -> str:
    """The text without halves of characters, which tables could not be written with."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
