"""Bar plots of a report."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from captum_heta.benchmark.metrics import METRICS
from captum_heta.benchmark.statistics import Cell
from captum_heta.visualization.fonts import drawable
from captum_heta.visualization.signs import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FIRST, _OTHER = "#1b7837", "#a6dba0"


def bar_plots(cells: Sequence[Cell], folder: Path) -> list[Path]:
    """A file ``METRIC.png`` for each metric with values: a panel a data set, a bar a row, with its 95% interval."""
    from matplotlib.figure import Figure

    written = []
    for metric, of_metric in _grouped(cells, lambda cell: cell.metric).items():
        panels = list(_grouped(of_metric, lambda cell: cell.data).values())
        panels = [panel for panel in panels if any(cell.value.n for cell in panel)]
        if not panels:
            continue
        # not pyplot, which would need closing and a display's backend
        figure = Figure(figsize=(1.5 + 3.5 * len(panels), 1.0 + 0.3 * len(panels[0])), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, panel in zip(axes, panels, strict=True):
            _bars(axis, panel)
        figure.suptitle(f"{METRICS[metric].title} ({METRICS[metric].better} is better)", fontsize=11)
        path = folder / f"{metric}.png"
        figure.savefig(path, dpi=150)
        written.append(path)
    return written


def _grouped(cells: Sequence[Cell], key: Callable[[Cell], str]) -> dict[str, list[Cell]]:
    """Cells by what ``key`` says of them, in their order."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(key(cell), []).append(cell)
    return found


def _bars(axis: "Axes", panel: Sequence[Cell]) -> None:
    names = [_label(cell.method) for cell in panel]
    means = [cell.value.mean for cell in panel]
    errors = [
        [max(0.0, cell.value.mean - cell.value.low) for cell in panel],
        [max(0.0, cell.value.high - cell.value.mean) for cell in panel],
    ]
    colors = [_FIRST if i == 0 else _OTHER for i in range(len(panel))]
    axis.barh(range(len(panel)), means, xerr=errors, color=colors, error_kw={"elinewidth": 1, "capsize": 2})
    axis.set_yticks(range(len(panel)), names, fontsize=9, parse_math=False)
    axis.axvline(0, color="#444444", linewidth=0.8)
    axis.set_title(_label(panel[0].data), fontsize=10, parse_math=False)
    axis.spines[["top", "right"]].set_visible(False)
    if not axis.yaxis_inverted():  # the first row on top; the panels share their rows
        axis.invert_yaxis()


def _label(text: str) -> str:
    """Foreign text as matplotlib's own font can draw it."""
    text = visible(text)
    return text.translate(drawable(text, ["DejaVu Sans"]))
