"""What the commands share: their arguments, the model, and what it is asked."""

from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from captum_heta.demo import examples, load_model
from captum_heta.inputs import LocatedInput, TextInput
from captum_heta.inputs.target import next_token, target_ids
from captum_heta.models import LanguageModel
from captum_heta.prompts import check_length

_DTYPES = ("float32", "bfloat16")

PromptArgument = Annotated[
    str | None, typer.Argument(help="The text to explain; an example of the embedded model if left out.")
]
TargetOption = Annotated[
    str | None, typer.Option(help="The continuation to explain; the model's likeliest token if left out.")
]
ModelOption = Annotated[str | None, typer.Option(help="A Hugging Face id or folder; the embedded model if left out.")]
DtypeOption = Annotated[
    str | None, typer.Option(help="Of the weights of --model: float32 or bfloat16; float32 if left out.")
]
BosOption = Annotated[
    bool,
    typer.Option("--bos", help="Begin prompts with the beginning-of-text token, if the tokenizer does not do so."),
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def example(prompt: str | None, target: str | None) -> tuple[str, str | None]:
    """Prompt and target, those of an example of the embedded model without a prompt.

    Raises:
        ValueError: for one without a character, of which no tokenizer makes a token to explain.
    """
    if prompt == "":
        raise ValueError("The prompt is empty: there is nothing to attribute an output to.")
    if target == "":
        raise ValueError("--target is empty: give a text, or leave it out for the model's likeliest token.")
    if prompt is not None:
        return prompt, target
    item = next(examples(1))
    return item.prompt, item.target if target is None else target


def listed(option: str, text: str) -> list[str]:
    """The parts of what an option lists with commas between.

    Raises:
        ValueError: if there are none, or one is there twice.
    """
    found = [part.strip() for part in text.split(",") if part.strip()]
    twice = [part for i, part in enumerate(found) if part in found[:i]]
    if twice:
        raise ValueError(f"{option} has {twice[0]!r} twice: once is enough.")
    if not found:
        raise ValueError(f"{option} names nothing, got {text!r}.")
    return found


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


def check_model_options(name: str | None, dtype: str | None, device_map: str | None = None) -> None:
    """Raise ValueError for another dtype than there is, and for options of ``--model`` without it."""
    if dtype is not None and dtype not in _DTYPES:
        raise ValueError(f"--dtype must be {' or '.join(_DTYPES)}, got {dtype!r}.")
    if name == "":
        raise ValueError("--model is empty: give a Hugging Face id or folder, or leave it out for the embedded model.")
    if name is None and device_map is not None:
        raise ValueError("--device-map places the model of --model; the embedded one is small.")
    if name is None and dtype is not None:
        raise ValueError("--dtype is that of the model of --model; the embedded one has float32: leave it out.")


def load(
    name: str | None, dtype: str | None = None, device_map: str | None = None, device: int = 0, bos: bool = False
) -> tuple[Any, Any]:
    """The model, on a GPU if there is one, and its tokenizer.

    Args:
        name: a Hugging Face id or folder; None for the embedded model.
        dtype: "float32" or "bfloat16"; None for float32.
        device_map: how accelerate places the model; None for one device.
        device: the number of the GPU, without ``device_map``.
        bos: whether `beginning` will be asked for; what is wrong with that is told before the weights are loaded.

    Raises:
        ValueError: as `check_model_options` and `beginning` do.
    """
    check_model_options(name, dtype, device_map)
    if name is None:
        model, tokenizer = load_model()
        beginning(tokenizer, bos)
        return model, tokenizer
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(name)
    beginning(tokenizer, bos)
    dtype = dtype or _DTYPES[0]
    if device_map is not None:
        return AutoModelForCausalLM.from_pretrained(name, dtype=dtype, device_map=device_map).eval(), tokenizer
    model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype).eval()
    return model.to(f"cuda:{device % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu"), tokenizer


def located(prompt: str, model: Any, tokenizer: Any) -> LocatedInput:
    """The prompt for the methods; its features are its tokens except the special ones.

    Raises:
        ValueError: if there are none, or more than the model can read; both are told before the model runs.
    """
    check_length(LanguageModel(model), len(tokenizer.encode(prompt)))
    return LocatedInput(TextInput(prompt, tokenizer), tokenizer)


def outputs_of(prompt: LocatedInput, model: Any, target: str | None) -> Tensor:
    """The token ids of the target; without one, of the model's likeliest next token.

    Raises:
        ValueError: for a target without tokens, or with more than the model can read behind the prompt.
    """
    lm = LanguageModel(model)
    return next_token(prompt, lm) if target is None else target_ids(target, prompt, lm)
