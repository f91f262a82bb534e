"""A comparison in a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from captum_heta.comparison.result import Comparison
from captum_heta.comparison.view import how_refined, method_note, outputs_note, question
from captum_heta.visualization.signs import visible
from captum_heta.visualization.terminal import has_colours, scored_text


def show_comparison(
    comparison: Comparison, console: Console, warnings: Sequence[str] = (), notes: Sequence[str] = ()
) -> None:
    """Each method's time and shaded prompt, what failed, and the rank correlations; scores where nothing is shaded.

    Args:
        comparison: what was found.
        console: where.
        warnings: what methods warned of.
        notes: what else is said of it.
    """
    console.print(question(comparison), markup=False)
    for note in [*outputs_note(comparison), *how_refined(comparison), *notes]:
        console.print(note, markup=False, style="dim")
    for warning in warnings:
        console.print(visible(warning), markup=False, style="yellow")
    names = comparison.names
    if names and has_colours(console):
        console.print("Green: above 0; red: below. Each method has its own scale.", style="dim")
    elif names:
        console.print(Text(visible(comparison.prompt)))
    for name, row in zip(names, comparison.matrix("none").tolist() if names else [], strict=True):
        _heading(console, name, method_note(comparison, name, row))
        console.print(scored_text(console, comparison.prompt, comparison.spans, comparison.spread(row)))
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
