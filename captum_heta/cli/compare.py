"""``captum-heta compare``: a prompt shaded by the scores of several methods."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from captum_heta.cli.common import (
    BosOption,
    DebugOption,
    DtypeOption,
    ModelOption,
    PromptArgument,
    TargetOption,
    beginning,
    check_model_options,
    example,
    listed,
    load,
    located,
    outputs_of,
)
from captum_heta.cli.files import check_files, written
from captum_heta.cli.told import errors_told, terminal
from captum_heta.comparison import Comparison, ComparisonInterrupt
from captum_heta.comparison import compare as compare_methods
from captum_heta.comparison.shown import show_comparison
from captum_heta.files import write_whole
from captum_heta.methods import METHODS, check_names, named_methods

_INTERRUPTED = 130  # the exit status after Ctrl-C


def compare(
    prompt: PromptArgument = None,
    methods: Annotated[str, typer.Option(help=f"Separated by commas: {', '.join(METHODS)}.")] = "heta,ig,ablation",
    target: TargetOption = None,
    model: ModelOption = None,
    dtype: DtypeOption = None,
    bos: BosOption = False,
    html_file: Annotated[Path | None, typer.Option("--html", help="Write a page of it to this file too.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all scores to this file too.")] = None,
    debug: DebugOption = False,
) -> None:
    """Shade a prompt's tokens by the scores of several methods, one under the other.

    Ctrl-C ends it with the methods that are done by then.
    """
    interrupted = False
    with errors_told(debug):
        check_files({"--html": html_file, "--json": json_file})
        check_model_options(model, dtype)
        names = listed("--methods", methods)
        check_names(names)
        prompt, target = example(prompt, target)
        try:
            found = _compare(prompt, names, target, model, dtype, bos)
        except ComparisonInterrupt as stop:
            found, interrupted = stop.comparison, True
        files: dict[Path, Callable[[Path], object]] = {}
        if found.results or not interrupted:  # an interruption before there is anything changes no file
            files |= {html_file: lambda file: write_whole(file, found.to_html())} if html_file else {}
            files |= {json_file: found.save} if json_file else {}
        with written(files, debug):
            show_comparison(found, terminal())
    if interrupted or not found.results:
        raise typer.Exit(_INTERRUPTED if interrupted else 1)


def _compare(
    prompt: str, methods: Sequence[str], target: str | None, name: str | None, dtype: str | None, bos: bool
) -> Comparison:
    model, tokenizer = load(name, dtype, bos=bos)
    prompt = beginning(tokenizer, bos) + prompt
    inp = located(prompt, model, tokenizer)
    outputs = outputs_of(inp, model, target)
    methods_of = named_methods(methods, model)
    return compare_methods(methods_of, tokenizer, inp.inp, outputs, show_progress=sys.stderr.isatty())
