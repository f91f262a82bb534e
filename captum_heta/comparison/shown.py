"""A comparison in a terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from captum_heta.comparison.result import Comparison
from captum_heta.comparison.words import particulars
from captum_heta.terminal import shaded, visible


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Each method's time and shaded prompt, what failed, and the rank correlations."""
    console.print(f"Why {comparison.target!r}?", markup=False)
    names = comparison.names
    if names:
        console.print("Darker green: a higher score; red: below 0. Each method has its own scale.", style="dim")
        for name, row in zip(names, comparison.matrix("none").tolist(), strict=True):
            _heading(console, name, particulars(comparison, name, row))
            console.print(shaded(comparison.prompt, comparison.spans, comparison.spread(row)))
    for name, failure in comparison.failures.items():
        _heading(console, name, f"{comparison.seconds[name]:.2f} s")
        console.print(visible(str(failure)), markup=False, style="red")
    if len(names) > 1:
        console.print("\nRank correlation of the magnitudes (Spearman)", style="bold")
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("")
        for i, _ in enumerate(names, start=1):
            table.add_column(str(i), justify="right")
        for i, (name, row) in enumerate(zip(names, comparison.spearman().tolist(), strict=True), start=1):
            table.add_row(Text(f"{i} {visible(name)}"), *(f"{value:.2f}" for value in row))
        console.print(table)


def _heading(console: Console, name: str, note: str) -> None:
    console.print(Text.assemble("\n", (visible(name), "bold"), (f"  {visible(note)}", "dim")))
