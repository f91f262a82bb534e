"""How does the cost grow with the prompt? ``python -m captum_heta.benchmark.growth figures.json growth.png``.

Plots what ``python -m captum_heta.benchmark.speed --json figures.json`` found: a line a method, both axes logarithmic.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from captum_heta.benchmark.speed_table import OF_GRADIENTS, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GRADIENTS = "Integrated Gradients"
# Okabe and Ito's, which differ for the colour-blind too; a second round is dashed
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_REFERENCE = "#444444"


class Point(NamedTuple):
    """A method at one length.

    Attributes:
        tokens: of the prompt.
        cost: seconds, or how often those of Integrated Gradients on the shortest prompt.
        whole: False if it was timed in part and scaled.
    """

    tokens: int
    cost: float
    whole: bool


def read_figures(path: Path) -> dict[int, list[Row]]:
    """The rows of each length, from a file of `captum_heta.benchmark.speed`.

    Raises:
        ValueError: if it is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {int(tokens): [Row(**row) for row in rows] for tokens, rows in content.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} has no figures of python -m captum_heta.benchmark.speed --json: {str(error).splitlines()[0]}"
        ) from error


def lines(figures: Mapping[int, Sequence[Row]], relative: bool = True) -> dict[str, list[Point]]:
    """The points of each whole method, ascending in their tokens.

    Args:
        figures: the rows of each length.
        relative: divide by the seconds of Integrated Gradients at the shortest length.

    Raises:
        ValueError: if no method is in the figures.
    """
    found: dict[str, list[Point]] = {}
    for tokens in sorted(figures):
        for row in figures[tokens]:
            if row.against == OF_GRADIENTS:
                found.setdefault(row.part, []).append(Point(tokens, row.seconds, row.whole))
    if not found:
        raise ValueError("The figures have no whole methods: run captum_heta.benchmark.speed with some --methods.")
    if not relative:
        return found
    unit = next(points[0].cost for name, points in found.items() if name.startswith(_GRADIENTS))
    return {name: [point._replace(cost=point.cost / unit) for point in points] for name, points in found.items()}


def plot(figures: Mapping[int, Sequence[Row]], path: Path, relative: bool = True) -> None:
    """Write the plot; hollow marks are of what was timed in part and scaled."""
    from matplotlib.figure import Figure

    found = lines(figures, relative)
    # not pyplot, which would need closing and a display's backend
    figure = Figure(figsize=(8.5, 5), layout="constrained")
    axes = figure.subplots()
    # the legend in the order in which the lines end
    names = sorted(found, key=lambda name: -found[name][-1].cost)
    styles = _styles(list(found))
    for name in names:
        _line(axes, name, found[name], *styles[name])
    _decorate(axes, sorted(figures), relative, any(not point.whole for points in found.values() for point in points))
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=9)
    figure.savefig(path, dpi=150)


def _styles(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """A colour and a kind of line each, the same whatever order they end in."""
    others = [name for name in names if not name.startswith(_GRADIENTS)]
    found = {
        name: (_COLORS[i % len(_COLORS)], ("-", "--", ":")[i // len(_COLORS) % 3]) for i, name in enumerate(others)
    }
    return found | {name: (_REFERENCE, "-") for name in names if name.startswith(_GRADIENTS)}


def _line(axes: "Axes", name: str, points: Sequence[Point], color: str, style: str) -> None:
    axes.plot([p.tokens for p in points], [p.cost for p in points], style, color=color, linewidth=1.5, label=name)
    for whole in (True, False):
        some = [point for point in points if point.whole == whole]
        axes.plot(
            [p.tokens for p in some],
            [p.cost for p in some],
            "o",
            color=color,
            markersize=5,
            markerfacecolor=color if whole else "white",
        )


def _decorate(axes: "Axes", tokens: Sequence[int], relative: bool, scaled: bool) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(tokens, [f"{count:,}" for count in tokens])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    note = " (hollow: timed in part and scaled)" if scaled else ""
    axes.set_xlabel(f"tokens of the prompt{note}", fontsize=10)
    unit = f"time / Integrated Gradients at {tokens[0]:,} tokens" if relative else "seconds"
    axes.set_ylabel(unit, fontsize=10)
    axes.grid(True, which="major", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Read and plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("figures", type=Path, help="what captum_heta.benchmark.speed --json wrote")
    parser.add_argument("picture", type=Path, help="the file to write, such as growth.png")
    parser.add_argument("--seconds", action="store_true", help="plot seconds, not ratios")
    arguments = parser.parse_args()
    try:
        plot(read_figures(arguments.figures), arguments.picture, not arguments.seconds)
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from error
    print(f"Wrote {arguments.picture}.")


if __name__ == "__main__":
    main()
