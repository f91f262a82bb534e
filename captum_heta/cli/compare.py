"""``captum-heta compare``: a prompt shaded by the scores of several methods."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from captum.attr import TextTokenInput
from rich.console import Console

from captum_heta.cli.common import (
    BosOption,
    DebugOption,
    DtypeOption,
    ModelOption,
    PromptArgument,
    TargetOption,
    beginning,
    errors_told,
    example,
    load,
    outputs_of,
    wrote,
)
from captum_heta.comparison import Comparison
from captum_heta.comparison import compare as compare_methods
from captum_heta.comparison.shown import show_comparison
from captum_heta.methods import METHODS, named_methods


def compare(
    prompt: PromptArgument = None,
    methods: Annotated[str, typer.Option(help=f"Separated by commas: {', '.join(METHODS)}.")] = "heta,ig,ablation",
    target: TargetOption = None,
    model: ModelOption = None,
    dtype: DtypeOption = "float32",
    bos: BosOption = False,
    html_file: Annotated[Path | None, typer.Option("--html", help="Write a page of it to this file too.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all scores to this file too.")] = None,
    debug: DebugOption = False,
) -> None:
    """Shade a prompt's tokens by the scores of several methods, one under the other."""
    with errors_told(debug):
        found = _compare(prompt, methods, target, model, dtype, bos)
        if json_file is not None:
            found.save(json_file)
        if html_file is not None:
            html_file.write_text(found.to_html(), encoding="utf-8")
    show_comparison(found, Console(highlight=False))
    wrote(html_file)
    wrote(json_file)
    if not found.results:
        raise typer.Exit(1)


def _compare(
    prompt: str | None, methods: str, target: str | None, name: str | None, dtype: str, bos: bool
) -> Comparison:
    model, tokenizer = load(name, dtype)
    prompt, target = example(prompt, target)
    prompt = beginning(tokenizer, bos) + prompt
    inp = TextTokenInput(prompt, tokenizer, skip_tokens=list(tokenizer.all_special_ids))
    outputs = outputs_of(model, inp.inp_tensor, tokenizer, prompt, target)
    named = named_methods([method.strip() for method in methods.split(",")], model)
    return compare_methods(named, tokenizer, inp, outputs, show_progress=sys.stderr.isatty())
