"""Data sets that are made for a model, by their short names."""

from collections.abc import Callable
from functools import partial
from typing import Any

from captum_heta.datasets.example import Example
from captum_heta.datasets.facts import build_facts
from captum_heta.datasets.hops import build_hops
from captum_heta.datasets.injection import build_injection
from captum_heta.datasets.needles import build_needles
from captum_heta.datasets.variables import build_variables
from captum_heta.tokenizers import Tokenizer

LENGTH = 1024  # tokens of a long text, if nothing else is said

GENERATED: dict[str, Callable[..., list[Example]]] = {
    "facts": build_facts,
    "needles": build_needles,
    "variables": build_variables,
    # the other tasks of RULER
    "single_needle": partial(build_needles, needles=1),
    "multivalue": partial(build_needles, needles=1, values=4),
    "hops": build_hops,
    "injection": build_injection,
}

LONG = tuple(name for name in GENERATED if name != "facts")  # those whose prompts have a length


def generate(
    name: str, n: int, seed: int, *, model: Any, tokenizer: Tokenizer, length: int | None = None, **options: Any
) -> list[Example]:
    """``n`` examples of the data set called ``name`` that a model answers.

    Args:
        name: a key of ``GENERATED``.
        n: how many.
        seed: of the draw.
        model: a causal language model; None to keep all examples, whatever a model answers.
        tokenizer: of the model.
        length: how many tokens a prompt has at the most; None for 1,024. Facts have none.
        **options: those of the data set's own function, `build_needles` for one, which makes ``single_needle`` and
            ``multivalue`` too.

    Raises:
        ValueError: for an unknown name, a length of facts, and what the function of the data set finds wrong.
    """
    if name not in GENERATED:
        raise ValueError(f"name must be one of {', '.join(GENERATED)}, got {name!r}.")
    if name in LONG:
        options["length"] = LENGTH if length is None else length
    elif length is not None:
        raise ValueError(f"{name} has no length: leave it out, got {length!r}. Only {', '.join(LONG)} have one.")
    return GENERATED[name](n, seed, model=model, tokenizer=tokenizer, **options)
