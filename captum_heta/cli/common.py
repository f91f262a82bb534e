"""What the commands share: their arguments, the model, and errors in a sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from torch import Tensor

from captum_heta.demo import examples, load_model

PromptArgument = Annotated[
    str | None, typer.Argument(help="The text to explain; an example of the embedded model if left out.")
]
TargetOption = Annotated[
    str | None, typer.Option(help="The continuation to explain; the model's likeliest token if left out.")
]
ModelOption = Annotated[str | None, typer.Option(help="A Hugging Face id or folder; the embedded model if left out.")]
DtypeOption = Annotated[str, typer.Option(help="Of the weights of --model: float32 or bfloat16.")]
BosOption = Annotated[
    bool,
    typer.Option("--bos", help="Begin prompts with the beginning-of-text token, if the tokenizer does not do so."),
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@contextmanager
def errors_told(debug: bool) -> Iterator[None]:
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


def wrote(file: Path | None) -> None:
    """Say so, if there is a file."""
    if file is not None:
        Console(stderr=True, highlight=False).print(f"Wrote {file}", markup=False)


def example(prompt: str | None, target: str | None) -> tuple[str, str | None]:
    """Prompt and target, those of an example of the embedded model without a prompt."""
    if prompt is not None:
        return prompt, target
    item = next(examples(1))
    return item.prompt, target or item.target


def beginning(tokenizer: Any, bos: bool) -> str:
    """What goes before a prompt: the beginning-of-text token if ``bos``, else nothing.

    Raises:
        ValueError: if the tokenizer has no such token, or puts it there itself.
    """
    if not bos:
        return ""
    if tokenizer.bos_token is None:
        raise ValueError("--bos: the tokenizer has no beginning-of-text token.")
    if tokenizer.bos_token_id in tokenizer.encode("a"):
        raise ValueError(f"--bos: the tokenizer puts {tokenizer.bos_token!r} before prompts itself.")
    return tokenizer.bos_token


def load(name: str | None, dtype: str, device_map: str | None = None, device: int = 0) -> tuple[Any, Any]:
    """The model, on a GPU if there is one, and its tokenizer.

    Args:
        name: a Hugging Face id or folder; None for the embedded model.
        dtype: "float32" or "bfloat16".
        device_map: how accelerate places the model; None for one device.
        device: the number of the GPU, without ``device_map``.

    Raises:
        ValueError: for another dtype, or a ``device_map`` for the embedded model.
    """
    if name is None:
        if device_map is not None:
            raise ValueError("--device-map places the model of --model; the embedded one is small.")
        return load_model()
    if dtype not in ("float32", "bfloat16"):
        raise ValueError(f"--dtype must be float32 or bfloat16, got {dtype!r}.")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(name)
    if device_map is not None:
        return AutoModelForCausalLM.from_pretrained(name, dtype=dtype, device_map=device_map).eval(), tokenizer
    model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype).eval()
    return model.to(f"cuda:{device % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu"), tokenizer


def outputs_of(model: Any, ids: Tensor, tokenizer: Any, prompt: str, target: str | None) -> Tensor:
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
