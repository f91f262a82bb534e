"""The command line: ``captum-heta explain`` and ``captum-heta compare``."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from captum.attr import TextTokenInput
from rich.console import Console
from torch import Tensor

from captum_heta.attr import HETA, LLMTokenAttribution
from captum_heta.comparison import Comparison
from captum_heta.comparison import compare as compare_methods
from captum_heta.comparison.shown import show_comparison
from captum_heta.demo import examples, load_model
from captum_heta.methods import METHODS, named_methods
from captum_heta.terminal import highest, shaded
from captum_heta.text import token_spans

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def _commands() -> None:
    """Which tokens of a prompt a language model's prediction comes from."""


@app.command()
def explain(
    prompt: Annotated[
        str | None, typer.Argument(help="The text to explain; an example of the embedded model if left out.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="The continuation to explain; the model's likeliest token if left out.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A Hugging Face id or folder; the embedded model if left out.")
    ] = None,
    curvature: Annotated[str, typer.Option(help="auto, exact, low_rank, gauss_newton or fisher.")] = "auto",
    dtype: Annotated[str, typer.Option(help="Of the weights of --model: float32 or bfloat16.")] = "float32",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write scores and terms to this file too.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Shade a prompt's tokens by their HETA scores, and list the highest with their terms."""
    with _errors_told(debug):
        report = _explain(prompt, target, model, curvature, dtype)
        if json_file is not None:
            json_file.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    _show(report, Console(highlight=False))
    _wrote(json_file)


@app.command()
def compare(
    prompt: Annotated[
        str | None, typer.Argument(help="The text to explain; an example of the embedded model if left out.")
    ] = None,
    methods: Annotated[str, typer.Option(help=f"Separated by commas: {', '.join(METHODS)}.")] = "heta,ig,ablation",
    target: Annotated[
        str | None, typer.Option(help="The continuation to explain; the model's likeliest token if left out.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A Hugging Face id or folder; the embedded model if left out.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="Of the weights of --model: float32 or bfloat16.")] = "float32",
    html_file: Annotated[Path | None, typer.Option("--html", help="Write a page of it to this file too.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all scores to this file too.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Shade a prompt's tokens by the scores of several methods, one under the other."""
    with _errors_told(debug):
        found = _compare(prompt, methods, target, model, dtype)
        if json_file is not None:
            found.save(json_file)
        if html_file is not None:
            html_file.write_text(found.to_html(), encoding="utf-8")
    show_comparison(found, Console(highlight=False))
    _wrote(html_file)
    _wrote(json_file)
    if not found.results:
        raise typer.Exit(1)


@contextmanager
def _errors_told(debug: bool) -> Iterator[None]:
    """An error ends the command with its message, and without a traceback unless ``debug``."""
    try:
        yield
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        if debug:
            raise
        errors = Console(stderr=True, highlight=False)
        errors.print("Error:", style="bold red", end=" ")
        errors.print(str(error), markup=False)
        raise typer.Exit(1) from None


def _wrote(file: Path | None) -> None:
    if file is not None:
        Console(stderr=True, highlight=False).print(f"Wrote {file}", markup=False)


def _compare(prompt: str | None, methods: str, target: str | None, name: str | None, dtype: str) -> Comparison:
    model, tokenizer = _load(name, dtype)
    prompt, target = _example(prompt, target)
    inp = TextTokenInput(prompt, tokenizer, skip_tokens=list(tokenizer.all_special_ids))
    outputs = _outputs(model, inp.inp_tensor, tokenizer, prompt, target)
    named = named_methods([method.strip() for method in methods.split(",")], model)
    return compare_methods(named, tokenizer, inp, outputs, show_progress=name is not None and sys.stderr.isatty())


def _example(prompt: str | None, target: str | None) -> tuple[str, str | None]:
    if prompt is not None:
        return prompt, target
    item = next(examples(1))
    return item.prompt, target or item.target


def _explain(prompt: str | None, target: str | None, name: str | None, curvature: str, dtype: str) -> dict[str, Any]:
    model, tokenizer = _load(name, dtype)
    prompt, target = _example(prompt, target)
    inp = TextTokenInput(prompt, tokenizer, skip_tokens=list(tokenizer.all_special_ids))
    outputs = _outputs(model, inp.inp_tensor, tokenizer, prompt, target)
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


def _load(name: str | None, dtype: str) -> tuple[Any, Any]:
    if name is None:
        return load_model()
    if dtype not in ("float32", "bfloat16"):
        raise ValueError(f"--dtype must be float32 or bfloat16, got {dtype!r}.")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype).eval()
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), AutoTokenizer.from_pretrained(name)


def _outputs(model: Any, ids: Tensor, tokenizer: Any, prompt: str, target: str | None) -> Tensor:
    """The output's token ids; a target is taken with or without a space before it, as the model finds likelier."""
    ids = ids.to(model.device)
    with torch.no_grad():
        if target is None:
            return model(ids, logits_to_keep=1).logits[0, -1].argmax()[None].cpu()
        best: tuple[float, Tensor] | None = None
        for text in dict.fromkeys([target, target if target[:1].isspace() or prompt[-1:].isspace() else f" {target}"]):
            tokens = torch.tensor(tokenizer.encode(text, add_special_tokens=False), dtype=torch.long)
            if tokens.numel() == 0:
                raise ValueError(f"The target {target!r} encodes to no token: there is no output to explain.")
            logits = model(torch.cat([ids, tokens.to(ids)[None]], dim=1), logits_to_keep=len(tokens) + 1).logits[0, :-1]
            likely = logits.log_softmax(-1).gather(1, tokens.to(ids)[:, None]).sum().item()
            if best is None or likely > best[0]:
                best = likely, tokens
    assert best is not None
    return best[1]


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


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
