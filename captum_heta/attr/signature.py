"""The ``attribute`` of a method, with the signature and the documentation that its options make.

Every method has the same parameters and some of its own. Both are written once: the shared ones here, a method's own as
the fields of its options. What `help`, notebooks and the pages of documentation show of a method is all of them.
"""

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from captum_heta.options import Options

# Where Captum's perturbation methods have these; others are named.
_POSITIONAL = (
    "inputs",
    "baselines",
    "target",
    "additional_forward_args",
    "feature_mask",
    "perturbations_per_eval",
    "show_progress",
)

# The type, the default and the documentation of what every method has.
_SHARED: dict[str, tuple[Any, Any, str]] = {
    "inputs": (
        Tensor | tuple[Tensor],
        inspect.Parameter.empty,
        "token ids, (B, n) integers on the device of the model's embeddings. Captum's form, a tuple of one tensor, is "
        "answered with a tuple.",
    ),
    "target": (
        int | Sequence[int] | Tensor | None,
        None,
        "the token id that is explained, one for all prompts or one a prompt. None explains the model's own most "
        "likely next token.",
    ),
    "additional_forward_args": (
        Any,
        None,
        "the attention mask (B, n) for prompts padded on either side; or a tuple of attention mask and position ids; "
        "or a dictionary with these names. Padding scores 0. HETA, GradientNorm and the methods that read attention "
        "also take what a processor makes of pictures or sound of one prompt, by name (``pixel_values`` ...), in the "
        "dictionary or in one at the end of the tuple. They are held fixed, and neighbouring tokens that stand for "
        "them are one feature unless ``feature_mask`` says otherwise.",
    ),
    "feature_mask": (
        Tensor | tuple[Tensor] | None,
        None,
        "integers that broadcast to ``inputs``. Tokens with the same number are one feature: it is looked at as a "
        "whole, and each of its tokens carries its score.",
    ),
    "show_progress": (bool, False, "show Captum's progress bar."),
}
_WIDTH = 108  # of a line
_RETURN_TERMS = "return what the scores are made of too."


def add_attribute(method: type, options: type[Options], terms: type | None) -> None:
    """Give a class its ``attribute``, which passes its arguments by name to ``_attribute``.

    Args:
        method: the class.
        options: of the method.
        terms: the named tuple of what its scores are made of; None if they are made of nothing else.
    """
    parameters = _parameters(options, terms)
    signature = inspect.Signature([inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY), *parameters])

    def attribute(self: Any, *arguments: Any, **named: Any) -> Any:
        check_names(method.__name__, named, [parameter.name for parameter in parameters])
        return self._attribute(**_bound(signature, self, arguments, named))

    attribute.__signature__ = signature  # type: ignore[attr-defined]
    attribute.__doc__ = _docstring(options, terms)
    attribute.__module__, attribute.__qualname__ = method.__module__, f"{method.__qualname__}.attribute"
    method.attribute = attribute  # type: ignore[attr-defined]


def check_names(method: str, given: Any, known: list[str]) -> None:
    """Raise TypeError if a name that was given is no option of a method; it says which there are."""
    unknown = [name for name in given if name not in known]
    if unknown:
        raise TypeError(f"{method} has no option {unknown[0]!r}; it has {', '.join(known) or 'none'}.")


def _bound(signature: inspect.Signature, method: Any, arguments: Any, named: Any) -> dict[str, Any]:
    try:
        bound = signature.bind(method, *arguments, **named)
    except TypeError as error:
        raise TypeError(f"{type(method).__name__}.attribute: {error}.") from None
    return {name: value for name, value in bound.arguments.items() if name != "self"}


def _parameters(options: type[Options], terms: type | None) -> list[inspect.Parameter]:
    defaults: dict[str, Any] = {name: default for name, (_, default, _) in _SHARED.items()}
    annotations: dict[str, Any] = {name: kind for name, (kind, _, _) in _SHARED.items()}
    for field in _own_first(options):
        defaults[field.name], annotations[field.name] = field.default, field.type
    if terms is not None:
        defaults["return_terms"], annotations["return_terms"] = False, bool
    names = [name for name in _POSITIONAL if name in defaults]
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD if name in _POSITIONAL else inspect.Parameter.KEYWORD_ONLY,
            default=defaults[name],
            annotation=annotations[name],
        )
        for name in [*names, *(name for name in defaults if name not in names)]
    ]


def _own_first(options: type[Options]) -> list[dataclasses.Field[Any]]:
    """The options that a method has for itself, before those that it shares with others."""
    known = {field.name: field for field in dataclasses.fields(options)}
    names = dict.fromkeys(name for part in options.__mro__ for name in inspect.get_annotations(part))
    return [known[name] for name in names if name in known]


def _docstring(options: type[Options], terms: type | None) -> str:
    texts = {name: text for name, (_, _, text) in _SHARED.items()} | _documented(options)
    texts |= {} if terms is None else {"return_terms": _RETURN_TERMS}
    entries = [
        textwrap.fill(
            f"{parameter.name}: {texts[parameter.name]}",
            width=_WIDTH,
            subsequent_indent=" " * 8,
            break_on_hyphens=False,
        )
        for parameter in _parameters(options, terms)
    ]
    pair = "" if terms is None else f" With ``return_terms``, a pair of them and `{terms.__name__}`."
    return (
        "Attribute the next-token prediction after each prompt to the prompt's tokens.\n\n"
        "Args:\n" + "".join(f"    {entry}\n" for entry in entries) + "\n"
        f"Returns:\n    Scores of the shape of ``inputs``, float32.{pair}\n\n"
        "Raises:\n"
        "    TypeError: for an option that the method does not have, and a model that it cannot explain.\n"
        "    ValueError: for inputs, targets, masks or options that do not fit; the message says what would.\n"
        "    RuntimeError: if scores are not finite.\n"
    )


def _documented(options: type[Options]) -> dict[str, str]:
    """What the docstrings of the options say of each field."""
    found: dict[str, str] = {}
    for part in reversed(options.__mro__):
        if not (dataclasses.is_dataclass(part) and part.__doc__):
            continue
        _, _, section = inspect.cleandoc(part.__doc__).partition("Attributes:\n")
        section = re.split(r"\n\n\S", section)[0]
        for entry in re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, flags=re.MULTILINE):
            found[entry[0]] = " ".join(entry[1].split())
    return found
