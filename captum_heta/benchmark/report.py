"""Tables and plots of a benchmark's lines."""

import csv
import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from captum_heta.benchmark.metrics import METRICS
from captum_heta.benchmark.plots import bar_plots
from captum_heta.benchmark.rows import RANDOM
from captum_heta.benchmark.statistics import Cell, Interval, mean_interval
from captum_heta.files import write_whole
from captum_heta.visualization.signs import visible

# What Markdown, and the HTML in it, reads as something else than text: tags, cells, code, links, emphasis, formulas.
_MARKDOWN = {ord(sign): html.escape(sign) for sign in "&<>"} | {ord(sign): f"&#{ord(sign)};" for sign in "|`[]\\*~$"}


@dataclass(frozen=True)
class Report:
    """What the lines say.

    Attributes:
        lines: as `captum_heta.benchmark.runner.Benchmark.results` gives them.
        metrics: short names of metrics, in the order of the columns.
    """

    lines: Sequence[dict[str, Any]]
    metrics: Sequence[str]

    @property
    def data(self) -> list[str]:
        """The data sets."""
        return list(dict.fromkeys(line["data"] for line in self.lines))

    @property
    def methods(self) -> list[str]:
        """The rows; the others are compared with the first."""
        return list(dict.fromkeys(line["method"] for line in self.lines))

    @cached_property
    def _lines_of(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """By data set and row."""
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for line in self.lines:
            found.setdefault((line["data"], line["method"]), []).append(line)
        return found

    @cached_property
    def cells(self) -> list[Cell]:
        """Every metric of every row; computed once, as each has two bootstraps."""
        return [
            self._cell(data, method, name) for data in self.data for method in self.methods for name in self.metrics
        ]

    def markdown(self) -> str:
        """A table for each data set, one of the differences to the first row, and what was left out."""
        cells = {(cell.data, cell.method, cell.metric): cell for cell in self.cells}
        parts = []
        for data in self.data:
            metrics = [name for name in self.metrics if any(cells[data, row, name].value.n for row in self.methods)]
            count = len({line["example"] for line in self.lines if line["data"] == data})
            parts.append(f"## {_plain(data)}: {count} examples\n\n{self._values(data, metrics, cells)}")
            if len(self.methods) > 1:
                others = f"Differences to {_plain(self.methods[0])} on the same examples:"
                parts.append(f"{others}\n\n{self._differences(data, metrics, cells)}")
            if reasons := self.left_out(data):
                parts.append("\n".join(f"* {_plain(reason)}" for reason in reasons))
        parts.append(
            "Means over examples with 95% intervals (bootstrap over examples). ↑ higher is better, ↓ lower is better. "
            "Rows without seconds took no attribution of their own."
        )
        return "\n\n".join(parts) + "\n"

    def write(self, folder: Path) -> list[Path]:
        """Write ``report.md``, ``report.csv`` and a bar plot of each metric to a folder."""
        page, table = folder / "report.md", folder / "report.csv"
        write_whole(page, self.markdown())
        with table.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(
                "data method metric n mean low high difference difference_low difference_high times_random".split()
            )
            for cell in self.cells:
                mean, low, high, n = cell.value
                names = (visible(cell.data), visible(cell.method), cell.metric)
                rows.writerow([*names, n, mean, low, high, *cell.difference[:3], cell.to_random])
        return [page, table, *bar_plots(self.cells, folder)]

    def _cell(self, data: str, method: str, metric: str) -> Cell:
        values, first = self._values_of(data, method, metric), self._values_of(data, self.methods[0], metric)
        both = [values[item] - first[item] for item in values if item in first]
        return Cell(
            data,
            method,
            metric,
            mean_interval(list(values.values())),
            mean_interval(both),
            _ratio(values, self._values_of(data, RANDOM, metric)),
        )

    def _values_of(self, data: str, method: str, metric: str) -> dict[str, float]:
        """By example."""
        found = {
            line["example"]: line["metrics"][metric]
            for line in self._lines_of.get((data, method), [])
            if "metrics" in line
        }
        return {example: value for example, value in found.items() if value is not None}

    def _values(self, data: str, metrics: Sequence[str], cells: dict[tuple[str, str, str], Cell]) -> str:
        titles = [f"{METRICS[name].title} {METRICS[name].arrow}" for name in metrics]
        rows = []
        for method in self.methods:
            seconds = self.seconds(data, method)
            spent = "" if seconds is None else f"{seconds:.3f}"
            rows.append([_plain(method), *(_value(cells[data, method, name]) for name in metrics), spent])
        return _table(["method", *titles, "seconds"], rows)

    def _differences(self, data: str, metrics: Sequence[str], cells: dict[tuple[str, str, str], Cell]) -> str:
        rows = [
            [_plain(method), *(_interval(cells[data, method, name].difference, "+") for name in metrics)]
            for method in self.methods[1:]
        ]
        return _table(["method", *(METRICS[name].title for name in metrics)], rows)

    def seconds(self, data: str, method: str) -> float | None:
        """How long an attribution took on average; None for rows that took none of their own."""
        spent = [line["seconds"] for line in self._lines_of.get((data, method), []) if "seconds" in line]
        return sum(spent) / len(spent) if spent else None

    def left_out(self, data: str) -> list[str]:
        """Why some examples have no number, and how many."""
        reasons: dict[str, int] = {}
        for line in self.lines:
            if line["data"] == data and "error" in line:
                told = f"{line['method']} failed: {line['error']}"
                reasons[told] = reasons.get(told, 0) + 1
            elif line["data"] == data and "skipped" in line and line["method"] == self.methods[0]:
                told = f"left out, as {line['skipped']}"
                reasons[told] = reasons.get(told, 0) + 1
        return [f"{count} of the examples: {' '.join(told.split())}" for told, count in reasons.items()]


def _ratio(values: dict[str, float], random: dict[str, float]) -> float:
    shared = [item for item in values if item in random]
    below = sum(random[item] for item in shared)
    return sum(values[item] for item in shared) / below if below > 0 else float("nan")


def _value(cell: Cell) -> str:
    """The interval and, for metrics that are relative to random scores in the literature, the ratio."""
    text = _interval(cell.value)
    known = cell.value.n and not math.isnan(cell.to_random)
    return f"{text}, {cell.to_random:.2f}x" if METRICS[cell.metric].relative_to_random and known else text


def _interval(value: Interval, sign: str = "") -> str:
    if value.n == 0:
        return ""
    mean = f"{value.mean:{sign}.3f}"
    return mean if value.n == 1 else f"{mean} [{value.low:{sign}.3f}, {value.high:{sign}.3f}]"


def _plain(text: str) -> str:
    r"""``text`` on one line, as Markdown that shows it as it is, also in a cell of a table.

    >>> _plain("a|b\n<i>")
    'a&#124;b &lt;i&gt;'
    """
    return " ".join(visible(text).split()).translate(_MARKDOWN)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
