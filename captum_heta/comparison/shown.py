"""A comparison in a terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from captum_heta.comparison.result import Comparison
from captum_heta.terminal import shaded


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Each method's time and shaded prompt, what failed, and the rank correlations."""
    console.print(f"Why {comparison.target!r}?", markup=False)
    names = comparison.names
    if names:
        for name, row in zip(names, comparison.matrix("none").tolist(), strict=True):
            _heading(console, name, comparison.seconds[name])
            console.print(shaded(comparison.prompt, comparison.spans, comparison.spread(row)))
    for name, failure in comparison.failures.items():
        _heading(console, name, comparison.seconds[name])
        console.print(str(failure), markup=False, style="red")
    if len(names) > 1:
        console.print("\nRank correlation of the magnitudes (Spearman)", style="bold")
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("")
        for i, _ in enumerate(names, start=1):
            table.add_column(str(i), justify="right")
        for i, (name, row) in enumerate(zip(names, comparison.spearman().tolist(), strict=True), start=1):
            table.add_row(Text(f"{i} {name}"), *(f"{value:.2f}" for value in row))
        console.print(table)


def _heading(console: Console, name: str, seconds: float) -> None:
    console.print(Text.assemble("\n", (name, "bold"), (f"  {seconds:.2f} s", "dim")))
