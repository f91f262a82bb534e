"""From the arguments of a command to a model, a prompt and what is explained."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from captum_heta.cli.arguments import DTYPES, check_model_options, embedded, read_chat
from captum_heta.cli.documents import read_documents
from captum_heta.cli.question import Question
from captum_heta.demo import MODELS, chains, examples, load_model
from captum_heta.inputs import ChatInput, DocumentsInput, LocatedInput, TextInput
from captum_heta.inputs.documents import ASKING
from captum_heta.inputs.rendering import has_template
from captum_heta.inputs.target import contrasted, generated_answer, next_token, target_ids
from captum_heta.models import LanguageModel, greedy
from captum_heta.prompts import check_length
from captum_heta.tokenizers import Tokenizer


def answered(asked: Question) -> tuple[Any, LocatedInput, Tensor, Tensor | None]:
    """The model, the prompt, the output that a person asks about, and what it is compared with, None for nothing.

    Raises:
        ValueError: if something of them does not fit together.
    """
    model, tokenizer = load(asked.model, asked.dtype, bos=asked.bos, place=asked.device)
    target = asked.target
    if asked.documents is not None:
        inp = LocatedInput(documents_input(asked, tokenizer), tokenizer)
        check_length(LanguageModel(model), len(inp.ids))
    elif asked.chat is None:
        prompt, target = example(asked.prompt, asked.target, asked.generates, asked.model)
        inp = located(beginning(tokenizer, asked.bos) + prompt, model, tokenizer)
    else:
        if not has_template(tokenizer):
            raise ValueError(
                "--chat needs a model that was trained on chats, and the tokenizer of "
                f"{asked.model or 'the embedded model'} has no chat template: pass another --model, or a text."
            )
        inp = LocatedInput(ChatInput(read_chat(asked.chat), tokenizer), tokenizer)
        check_length(LanguageModel(model), len(inp.ids))
    outputs = outputs_of(inp, model, target, asked.generates, asked.generate)
    if asked.contrast is None:
        return model, inp, outputs, None
    return model, inp, *contrasted(asked.contrast, outputs, inp, LanguageModel(model))


def documents_input(asked: Question, tokenizer: Tokenizer) -> DocumentsInput:
    """The documents and the question, as a chat where the tokenizer has a template for one; sentences are features.

    Raises:
        ValueError: for documents that cannot be read, ``bos`` of a chat, and as `beginning` and `DocumentsInput` do.
    """
    assert asked.documents is not None
    before = "" if asked.instructions is None else f"{asked.instructions.strip()}\n\n"
    if "{documents}" in before or "{question}" in before:  # which would be filled
        raise ValueError(f"--instructions are written as they are, got {asked.instructions!r}: leave out the braces.")
    content = before + ASKING
    given: dict[str, Any]
    if not has_template(tokenizer):
        given = {"template": f"{beginning(tokenizer, asked.bos)}{content}\nAnswer:"}
    elif asked.bos:
        raise ValueError("--bos: the template of a chat writes its own beginning; leave it out.")
    else:
        given = {"messages": [{"role": "user", "content": content}]}
    documents = read_documents(asked.documents)
    return DocumentsInput(documents, asked.question, tokenizer, by="sentence", rest=True, **given)


def example(
    prompt: str | None, target: str | None, answer: bool = False, model: str | None = None
) -> tuple[str, str | None]:
    """Prompt and target, those of an example that the embedded ``model`` answers without a prompt."""
    if prompt is not None:
        return prompt, target
    if embedded(model) == "chain":
        asked = next(chains(1))
        prompt, output = asked.prompt, asked.reasoning + asked.answer
    else:
        item = next(examples(1))
        prompt, output = item.prompt, item.target or ""
    return prompt, output if target is None and not answer else target


def beginning(tokenizer: Tokenizer, bos: bool) -> str:
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


def check_device(name: str | None) -> None:
    """Raise ValueError if torch cannot use a device, before a model is loaded for it."""
    if name is None:
        return
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"--device {name} cannot be used: {why}. Pass cpu or another.") from error


def _check_folder(name: str) -> None:
    """Raise ValueError for a path that is no folder of a saved model; a relative one that is not there may be an id."""
    if os.path.isabs(name) and not os.path.isdir(name):
        raise ValueError(f"--model {name} is no folder: give that of a saved model, or a Hugging Face id.")
    configs = ("config.json", "adapter_config.json")
    if os.path.isdir(name) and not any(os.path.isfile(os.path.join(name, config)) for config in configs):
        raise ValueError(f"--model {name} has no config.json: give the folder of a saved model, or a Hugging Face id.")


# A tokenizer may need a package that is not there.
_OF_LOADING = (OSError, ValueError, ImportError)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Errors that transformers raises in this context say which model they are of."""
    try:
        yield
    except _OF_LOADING as error:
        kind = next(kind for kind in _OF_LOADING if isinstance(error, kind))
        raise kind(f"--model {name}: {error}") from error


def load(
    name: str | None,
    dtype: str | None = None,
    device_map: str | None = None,
    device: int = 0,
    bos: bool = False,
    place: str | None = None,
) -> tuple[Any, Tokenizer]:
    """The model, on a GPU if there is one, and its tokenizer.

    Args:
        name: a Hugging Face id or folder, or a name of `EMBEDDED`; None for the embedded model.
        dtype: "float32" or "bfloat16"; None for float32.
        device_map: how accelerate places the model; None for one device.
        device: the number of the GPU, without ``device_map``.
        bos: whether `beginning` will be asked for; what is wrong with that is told before the weights are loaded.
        place: where the model runs, by the name of a device; None for the GPU, or the CPU without one.

    Raises:
        ValueError: as `check_model_options` and `beginning` do, and for a folder that is not there or has no model.
        OSError: for a model that cannot be loaded.
    """
    check_model_options(name, dtype, device_map)
    check_device(place)
    known = embedded(name)
    if name is None or known is not None:
        model, tokenizer = load_model(known or MODELS[0])
        beginning(tokenizer, bos)
        return (model if place is None else model.to(place)), tokenizer
    _check_folder(name)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with _naming(name):
        tokenizer = AutoTokenizer.from_pretrained(name)
    beginning(tokenizer, bos)
    places = {} if device_map is None else {"device_map": device_map}
    with _naming(name):
        model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype or DTYPES[0], **places).eval()
    if device_map is not None:
        return model, tokenizer
    gpu = f"cuda:{device % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu"
    return model.to(place or gpu), tokenizer


def located(prompt: str, model: Any, tokenizer: Tokenizer) -> LocatedInput:
    """The prompt for the methods; its features are its tokens except the special ones.

    Raises:
        ValueError: if there are none, or more than the model can read; both are told before the model runs.
    """
    check_length(LanguageModel(model), len(tokenizer.encode(prompt)))
    return LocatedInput(TextInput(prompt, tokenizer), tokenizer)


def outputs_of(
    prompt: LocatedInput, model: Any, target: str | None, answer: bool = False, most: int | None = None
) -> Tensor:
    """The token ids of the target; without one, of the model's likeliest next token, or of its ``answer``.

    An answer has ``most`` tokens at most; None for the end of the model's positions.

    Raises:
        ValueError: for a target without tokens, or with more than the model can read behind the prompt.
    """
    lm = LanguageModel(model)
    if target is not None:
        return target_ids(target, prompt, lm)
    if not answer:
        return next_token(prompt, lm)
    room = lm.room(len(prompt.ids))
    most = most if most is None or room is None else min(most, max(1, room))
    return generated_answer(prompt, lm, None if most is None else greedy(None) | {"max_new_tokens": most})
