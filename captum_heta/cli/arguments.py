"""Arguments that several commands have, and what is read of them; nothing here needs torch."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from captum_heta.demo import MODELS

DTYPES = ("float32", "bfloat16")
STANDARD = Path("-")  # input or output

# the models that come with the package, by what results say they are of
EMBEDDED = {f"captum_heta.demo.{name}": name for name in MODELS}

ModelOption = Annotated[
    str | None,
    typer.Option(
        help=f"A Hugging Face id or folder; the embedded model if left out; others are {', '.join(list(EMBEDDED)[1:])}."
    ),
]
DtypeOption = Annotated[
    str | None, typer.Option(help="Of the weights of --model: float32 or bfloat16; float32 if left out.")
]
DeviceOption = Annotated[
    str | None, typer.Option(help="Where the model runs, such as cpu or cuda:1; a GPU if there is one, if left out.")
]
BosOption = Annotated[
    bool,
    typer.Option("--bos", help="Begin prompts with the beginning-of-text token, if the tokenizer does not do so."),
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def read_prompt(prompt: str | None, file: Path | None) -> str | None:
    """The prompt that a person passes, from wherever it is; None without one.

    Raises:
        ValueError: for a prompt in two places, for one without a character, and a file that is no text.
        OSError: if the file cannot be read.
    """
    if file is not None and prompt is not None:
        raise ValueError("The prompt is on the command line and in --file: pass one of them.")
    if file is not None or prompt == str(STANDARD):
        given = None if file == STANDARD else file
        name = "standard input" if given is None else str(given)
        try:
            content = sys.stdin.buffer.read() if given is None else _bytes_of("--file", given)
            prompt = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"The prompt in {name} is no UTF-8 text: {error}.") from error
        prompt = prompt.removesuffix("\n").removesuffix("\r")  # which editors and echo add
    if prompt == "":
        raise ValueError("The prompt is empty: there is nothing to attribute an output to.")
    return prompt


def read_chat(file: Path) -> list[dict[str, Any]]:
    """The messages of a chat in a JSON file.

    Raises:
        ValueError: for a file that is no JSON, or no list of messages.
        OSError: if it cannot be read.
    """
    from captum_heta.inputs.rendering import checked_messages

    try:
        return checked_messages(json.loads(_bytes_of("--chat", file).decode("utf-8")))
    except ValueError as error:
        raise ValueError(f"--chat {file} is no chat: {error}") from error


def _bytes_of(option: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise OSError(f"{option} {file} cannot be read: {error.strerror or error}.") from error


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


def check_model_options(name: str | None, dtype: str | None, device_map: str | None = None) -> None:
    """Raise ValueError for another dtype than there is, and for options of ``--model`` without it."""
    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"--dtype must be {' or '.join(DTYPES)}, got {dtype!r}.")
    if name == "":
        raise ValueError("--model is empty: give a Hugging Face id or folder, or leave it out for the embedded model.")
    if embedded(name) and device_map is not None:
        raise ValueError("--device-map places the model of --model; an embedded one is small.")
    if embedded(name) and dtype is not None:
        raise ValueError("--dtype is that of the model of --model; an embedded one has float32: leave it out.")


def embedded(name: str | None) -> str | None:
    """Which of the models that come with the package is meant; None if it is none of them."""
    return MODELS[0] if name is None else EMBEDDED.get(name)
