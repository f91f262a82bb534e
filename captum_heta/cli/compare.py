"""``captum-heta compare``: a prompt shaded by the scores of several methods."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from captum_heta.cli.arguments import listed
from captum_heta.cli.files import written
from captum_heta.cli.messages import reported_errors, terminal
from captum_heta.cli.question import Question, asking
from captum_heta.methods import METHODS, check_names

if TYPE_CHECKING:
    from captum_heta.comparison import Comparison

_INTERRUPTED = 130  # the exit status after Ctrl-C


@asking
def compare(
    asked: Question,
    methods: Annotated[
        str, typer.Option(help=f"The methods, separated by commas: {', '.join(METHODS)}.")
    ] = "heta,ig,ablation",
) -> None:
    """Shade a prompt's tokens by the scores of several methods, one under the other.

    Ctrl-C ends it with the methods that are done by then.
    """
    interrupted = False
    with reported_errors(asked.debug):
        names = listed("--methods", methods)
        check_names(names)
        asked = asked.checked()

        from captum_heta.comparison import ComparisonInterrupt
        from captum_heta.comparison.saved import to_json
        from captum_heta.comparison.terminal import show_comparison

        try:
            comparison = _compared(asked, names)
        except ComparisonInterrupt as stop:
            comparison, interrupted = stop.comparison, True
        files = {asked.html_file: comparison.to_html, asked.json_file: lambda: to_json(comparison)}
        if interrupted and not comparison.results:  # before there is anything, no file is changed
            files = {}
        with written(files, asked.debug, asked.quiet) as is_shown:
            if is_shown:
                show_comparison(comparison, terminal())
    if interrupted or not comparison.results:
        raise typer.Exit(_INTERRUPTED if interrupted else 1)


def _compared(asked: Question, names: Sequence[str]) -> "Comparison":
    from captum_heta.cli.loading import answered
    from captum_heta.comparison import compare

    model, prompt, outputs = answered(asked)
    show_progress = not asked.quiet and sys.stderr.isatty()
    return compare(names, prompt.tokenizer, prompt.inp, outputs, model=model, show_progress=show_progress)
