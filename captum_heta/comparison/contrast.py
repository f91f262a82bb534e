"""What a comparison is asked beside a target: which methods explain the difference, and what of it is explained."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from captum_heta.attr import LLMTokenAttribution
from captum_heta.comparison.abilities import none_can, own_types
from captum_heta.inputs import LocatedInput
from captum_heta.inputs.target import contrasted
from captum_heta.models import LanguageModel

OPTION = "contrast"


def explains_contrast(method: Any) -> bool:
    """Whether a wrapped method explains log P(target) - log P(contrast)."""
    return isinstance(method, LLMTokenAttribution) and OPTION in method.attr_method.option_names()


def check_contrasting(names: Iterable[str]) -> None:
    """Raise ValueError if no method of these short names explains a difference."""
    if not set(names) & set(_contrasting()):
        raise without_contrast(names)


def without_contrast(names: Iterable[str]) -> ValueError:
    """The error where no method explains a difference."""
    return none_can(names, "explains a difference of two outputs", _contrasting(), "the contrast")


def check_options(methods: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ValueError for a contrast of one method alone, which would be asked something else than the others."""
    for name, some in options.items():
        if OPTION in some and explains_contrast(methods[name]):
            raise ValueError(
                f"options have a contrast for {name!r} alone: pass it to compare as contrast=..., and all methods "
                "explain the same target."
            )


def both_outputs(
    contrast: Any, outputs: Tensor, prompt: LocatedInput, lm: LanguageModel | None
) -> tuple[Tensor, Tensor]:
    """As `captum_heta.inputs.target.contrasted`; ids that no method could compare are refused once, for all.

    Raises:
        TypeError: as that function.
        ValueError: as that function, for an empty text, for other ids than as many as the target has, and for the
            target itself.
    """
    if isinstance(contrast, str) and not contrast:
        raise ValueError("contrast is empty: pass the output that the target is compared with, or leave it out.")
    outputs, others = contrasted(contrast, outputs, prompt, lm)
    if len(others) != len(outputs):
        raise ValueError(
            f"contrast has {len(others)} token ids and the target {len(outputs)}: each output token is compared with "
            "one in its place. Pass as many, or a text, which is cut where the two differ."
        )
    if torch.equal(others, outputs.cpu()):
        raise ValueError(f"contrast is the target itself, {others.tolist()}: there is no difference to explain.")
    return outputs, others


def _contrasting() -> list[str]:
    """The short names of all methods that explain a difference."""
    return [short for short, kind in own_types().items() if OPTION in kind.option_names()]
