"""``captum-heta explain``: a prompt shaded by HETA's scores."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from captum.attr import TextTokenInput
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
    errors_told,
    example,
    load,
    outputs_of,
    wrote,
)
from captum_heta.terminal import highest, shaded
from captum_heta.text import token_spans


def explain(
    prompt: PromptArgument = None,
    target: TargetOption = None,
    model: ModelOption = None,
    curvature: Annotated[str, typer.Option(help="auto, exact, low_rank, gauss_newton or fisher.")] = "auto",
    dtype: DtypeOption = "float32",
    bos: BosOption = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write scores and terms to this file too.")] = None,
    debug: DebugOption = False,
) -> None:
    """Shade a prompt's tokens by their HETA scores, and list the highest with their terms."""
    with errors_told(debug):
        report = _explain(prompt, target, model, curvature, dtype, bos)
        if json_file is not None:
            json_file.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    _show(report, Console(highlight=False))
    wrote(json_file)


def _explain(
    prompt: str | None, target: str | None, name: str | None, curvature: str, dtype: str, bos: bool
) -> dict[str, Any]:
    model, tokenizer = load(name, dtype)
    prompt, target = example(prompt, target)
    prompt = beginning(tokenizer, bos) + prompt
    inp = TextTokenInput(prompt, tokenizer, skip_tokens=list(tokenizer.all_special_ids))
    outputs = outputs_of(model, inp.inp_tensor, tokenizer, prompt, target)
    start = time.perf_counter()
    llm = LLMTokenAttribution(HETA(model), tokenizer)
    result = llm.attribute(inp, outputs, curvature=curvature, show_progress=name is not None and sys.stderr.isatty())
    seconds = time.perf_counter() - start
    _, spans = token_spans(prompt, tokenizer)
    kept = [span for span, keep in zip(spans, inp.itp_mask[0].tolist(), strict=True) if keep]
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
