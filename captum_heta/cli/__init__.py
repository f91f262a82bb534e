"""The command line, ``captum-heta``, a command a file."""

import typer

from captum_heta.cli.benchmark import benchmark
from captum_heta.cli.compare import compare
from captum_heta.cli.demo import demo
from captum_heta.cli.explain import explain

__all__ = ["app", "main"]

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def _commands() -> None:
    """Which tokens of a prompt a language model's prediction comes from."""


app.command()(explain)
app.command()(compare)
app.command()(benchmark)
app.command()(demo)


def main() -> None:
    """The console script."""
    app()
