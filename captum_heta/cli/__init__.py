"""The command line, ``captum-heta``, a command a file. A command imports what it needs when it runs."""

from typing import Annotated

import typer

from captum_heta.cli import benchmark, compare, demo, explain

__all__ = ["app", "main"]

app = typer.Typer(add_completion=False, no_args_is_help=True)


def _version(wanted: bool) -> None:
    if wanted:
        import captum_heta

        typer.echo(captum_heta.__version__)
        raise typer.Exit


@app.callback()
def _commands(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Which tokens of a prompt a language model's prediction comes from."""


app.command()(explain.explain)
app.command()(compare.compare)
app.command()(benchmark.benchmark)
app.command()(demo.demo)


def main() -> None:
    """The console script."""
    app()
