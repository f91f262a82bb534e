"""``captum-heta explain``: a prompt shaded by HETA's scores."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from captum_heta.attr import HETA, LLMTokenAttribution
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
    load,
    located,
    outputs_of,
)
from captum_heta.cli.files import check_files, written
from captum_heta.cli.told import errors_told, terminal
from captum_heta.files import write_whole
from captum_heta.options import CURVATURE_MODES, CurvatureOptions
from captum_heta.terminal import highest, shaded


def explain(
    prompt: PromptArgument = None,
    target: TargetOption = None,
    model: ModelOption = None,
    curvature: Annotated[str, typer.Option(help=f"One of {', '.join(CURVATURE_MODES)}.")] = "auto",
    dtype: DtypeOption = None,
    bos: BosOption = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write scores and terms to this file too.")] = None,
    debug: DebugOption = False,
) -> None:
    """Shade a prompt's tokens by their HETA scores, and list the highest with their terms."""
    with errors_told(debug):
        check_files({"--json": json_file})
        check_model_options(model, dtype)
        CurvatureOptions(curvature=curvature)  # which refuses what is none
        prompt, target = example(prompt, target)
        report = _explain(prompt, target, model, curvature, dtype, bos)
        with written({json_file: lambda file: write_whole(file, _json(report))} if json_file else {}, debug):
            _show(report, terminal())


def _json(report: dict[str, Any]) -> str:
    return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _explain(
    prompt: str, target: str | None, name: str | None, curvature: str, dtype: str | None, bos: bool
) -> dict[str, Any]:
    model, tokenizer = load(name, dtype, bos=bos)
    prompt = beginning(tokenizer, bos) + prompt
    inp = located(prompt, model, tokenizer)
    kept = [span for (span,) in inp.places]  # what a tokenizer without places has to say of it, it says before
    outputs = outputs_of(inp, model, target)
    start = time.perf_counter()
    llm = LLMTokenAttribution(HETA(model), tokenizer)
    result = llm.attribute(
        inp.inp, outputs, curvature=curvature, show_progress=name is not None and sys.stderr.isatty()
    )
    seconds = time.perf_counter() - start
    return {
        "model": name or "captum_heta.demo",
        "curvature": curvature,
        "prompt": prompt,
        "target": tokenizer.decode(outputs),
        "output_tokens": result.output_tokens,
        "output_probs": result.output_probs.tolist(),
        "input_tokens": result.input_tokens,
        "input_spans": kept,
        "seq_attr": result.seq_attr.tolist(),
        "token_attr": result.token_attr.tolist(),
        "terms": {term: values.tolist() for term, values in result.terms._asdict().items()},
        "seconds": round(seconds, 3),
    }


def _show(report: dict[str, Any], console: Console) -> None:
    count = len(report["output_tokens"])
    probability = torch.tensor(report["output_probs"]).prod().item()
    mean = {name: torch.tensor(values).mean(0).tolist() for name, values in report["terms"].items()}
    scores = [score / count for score in report["seq_attr"]]
    console.print(f"Why {report['target']!r} (probability {probability:.3g})?\n", markup=False)
    console.print(shaded(report["prompt"], report["input_spans"], scores))
    console.print(f"\nHighest scores{f', means over {count} output tokens' if count > 1 else ''}:")
    columns = {"score": scores} | {name.replace("_", " "): values for name, values in mean.items()}
    console.print(highest(report["prompt"], report["input_spans"], columns))
    console.print(f"\n{len(scores)} tokens, curvature {report['curvature']}, {report['seconds']:.2f} s", markup=False)
