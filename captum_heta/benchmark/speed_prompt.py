"""What is timed: a model and a prompt, of random tokens or of text that asks something."""

import copy
import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from captum_heta.datasets import Example, generate
from captum_heta.datasets.facts import build_facts
from captum_heta.datasets.generated import GENERATED
from captum_heta.demo import MODELS, load_model
from captum_heta.features import Features
from captum_heta.inputs import LocatedInput, TextInput
from captum_heta.inputs.target import target_ids
from captum_heta.models import LanguageModel
from captum_heta.prompts import check_length
from captum_heta.testing.architectures import shaped_model
from captum_heta.tokenizers import Tokenizer

TEXTS = tuple(GENERATED)
# Tokens of one part of a random prompt; and below how many a text is of facts, as a long one has no room.
PART, SHORT = 20, 128
_MOST_FACTS = 18


@dataclass(frozen=True, eq=False)
class Subject:
    """A model and one prompt.

    Attributes:
        model: a causal language model.
        ids: (n,), the prompt.
        target: the output token that is explained.
        features: groups of tokens.
        parts: (F,) integers, the part of each feature; None where a text has none.
        tokenizer: of the model; None for random tokens.
        text: the prompt; None for random tokens.
        answer: the text that the target begins; empty for random tokens.
        answered: whether the model's likeliest next token is the target; None for random tokens.
    """

    model: Any
    ids: Tensor
    target: int
    features: Features
    parts: Tensor | None
    tokenizer: Tokenizer | None = None
    text: str | None = None
    answer: str = ""
    answered: bool | None = None

    def beginning(self, count: int) -> "Subject":
        """The first ``count`` tokens of a prompt of random tokens."""
        parts = None if self.parts is None else self.parts[:count]
        return Subject(self.model, self.ids[:count], self.target, Features.of_tokens(range(count)), parts)


def random_subject(model: Any, tokens: int) -> Subject:
    """Random tokens, the same for the same length."""
    generator = torch.Generator(device="cpu").manual_seed(tokens)
    ids = torch.randint(model.config.vocab_size, (tokens,), generator=generator, device="cpu").to(model.device)
    features = Features.of_tokens(range(tokens))
    return Subject(model, ids, 1, features, torch.arange(tokens, device="cpu") // PART)


def text_subject(model: Any, tokenizer: Tokenizer, name: str | None, tokens: int, seed: int = 0) -> Subject:
    """A text of about ``tokens`` tokens and the first token of its answer.

    Args:
        model: a causal language model, which need not know the answer.
        tokenizer: of the model.
        name: a data set of `TEXTS`; None for needles, or facts below `SHORT` tokens.
        tokens: how many. Texts of facts have as many sentences as come nearest, and 18 at most.
        seed: of the draw.

    Raises:
        ValueError: for a length that the data set cannot have, or the model not read.
    """
    name = name or ("facts" if tokens < SHORT else "needles")
    lm = LanguageModel(model)
    check_length(lm, tokens)
    if name == "facts":
        item = min(
            (_facts(tokenizer, count, seed) for count in range(2, _MOST_FACTS + 1)),
            key=lambda item: abs(len(tokenizer.encode(item.prompt)) - tokens),
        )
    else:
        (item,) = generate(name, 1, seed, model=None, tokenizer=tokenizer, length=tokens)
    inp = LocatedInput(TextInput(item.prompt, tokenizer), tokenizer)
    target = int(target_ids(item.target, inp, None)[0])
    ids = torch.tensor(inp.ids, device=model.device)
    with lm.evaluating():
        answered = int(lm.logits(ids[None], 1)[0, -1].argmax()) == target
    parts = inp.parts()
    mask = None if parts is None else parts[1]
    return Subject(model, ids, target, inp.features, mask, tokenizer, item.prompt, item.target or "", answered)


def _facts(tokenizer: Tokenizer, sentences: int, seed: int) -> Example:
    return build_facts(1, seed, sentences=(sentences, sentences), tokenizer=tokenizer)[0]


@dataclass(frozen=True)
class Setting:
    """What a run is asked to time; small enough to be handed to another process.

    Attributes:
        shape: of a model with random weights, if ``model`` is None.
        model: a name of `captum_heta.demo.MODELS`, a Hugging Face id or a folder; None for random weights.
        text: a data set of `TEXTS`; None for what fits. Only with ``model``.
        longest: tokens of the longest prompt.
        device: the name of a device.
        dtype: the name of a floating point type of torch.
        seed: of the texts.

    Raises:
        ValueError: for ``text`` without ``model``, and a folder that is not there.
    """

    shape: str
    model: str | None
    text: str | None
    longest: int
    device: str
    dtype: str
    seed: int = 0

    def __post_init__(self) -> None:
        if self.text is not None and self.model is None:
            raise ValueError(
                f"--text {self.text} needs a model that reads: give --model, a Hugging Face id or folder, or one of "
                f"{', '.join(MODELS)}."
            )
        if self.model is not None and os.path.isabs(self.model) and not os.path.isdir(self.model):
            raise ValueError(f"--model {self.model} is no folder: give that of a saved model, or a Hugging Face id.")

    @cached_property
    def loaded(self) -> tuple[Any, Tokenizer | None]:
        """The model, and its tokenizer if it has one."""
        dtype = getattr(torch, self.dtype)
        if self.model is None:
            return long_enough(shaped_model(self.shape), self.longest).to(self.device, dtype), None
        if self.model in MODELS:
            model, tokenizer = load_model(self.model)
            return model.to(self.device, dtype), tokenizer
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.model)
        model = AutoModelForCausalLM.from_pretrained(self.model, dtype=dtype).eval()
        return model.to(self.device), tokenizer

    def subject(self, tokens: int) -> Subject:
        """The model and a prompt of about so many tokens."""
        model, tokenizer = self.loaded
        if tokenizer is None:
            return random_subject(model, tokens)
        return text_subject(model, tokenizer, self.text, tokens, self.seed)


def long_enough(model: Any, tokens: int) -> Any:
    """The model, or one of random weights like it that reads so many tokens."""
    limit = LanguageModel(model).max_positions
    if limit is None or limit >= tokens:
        return model
    config = copy.deepcopy(model.config)
    config.max_position_embeddings = tokens
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return type(model)(config).eval()
