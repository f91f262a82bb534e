"""Coarse to fine in a comparison: which methods look at parts of the prompt first, and what of it is refused."""

from collections.abc import Iterable, Mapping
from inspect import signature
from typing import Any

from captum_heta.attr import LLMTokenAttribution, TokenAttribution
from captum_heta.checks import check_part
from captum_heta.comparison.abilities import none_can, own_types

OPTION = "refine"
_OWN_FEATURES = "feature_mask"


def explains_tokens(method: Any) -> bool:
    """Whether a method, wrapped or not, is one of this package whose features are tokens."""
    own = method.attr_method if isinstance(method, LLMTokenAttribution) else method
    return isinstance(own, TokenAttribution) and own.sources == "token"


def takes_refine(method: Any, options: Mapping[str, Any]) -> bool:
    """Whether a method looks at parts first if it is told to: one of tokens, which has no features of its own.

    Args:
        method: wrapped or not.
        options: those of its ``attribute``.
    """
    return explains_tokens(method) and options.get(_OWN_FEATURES) is None


def refining() -> list[str]:
    """The short names of all methods that look at parts first if they are told to."""
    return [short for short, kind in own_types().items() if _sources(kind) == "token"]


def check_refining(names: Iterable[str]) -> None:
    """Raise ValueError if no method of these short names looks at parts first."""
    if not set(names) & set(refining()):
        raise without_refine(names)


def without_refine(names: Iterable[str]) -> ValueError:
    """The error where no method looks at parts first."""
    return none_can(names, "looks at parts of the prompt first", refining(), OPTION)


def check_refine(refine: Any, methods: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ValueError for a share that is none, and for one that nothing is done with.

    Args:
        refine: that of all methods, or None.
        methods: wrapped ones by their names.
        options: of some of them.
    """
    if refine is not None:
        check_part(OPTION, refine, "the score", one=True)
        if not any(takes_refine(method, options.get(name, {})) for name, method in methods.items()):
            raise without_refine(methods)
    for name, some in options.items():
        if some.get(OPTION) is None or not isinstance(methods[name], LLMTokenAttribution):
            continue
        check_part(f"refine of {name!r}", some[OPTION], "the score", one=True)
        if not takes_refine(methods[name], some):
            own = _OWN_FEATURES if some.get(_OWN_FEATURES) is not None else "sentences"
            raise ValueError(f"{name!r} has features of its own, {own}: leave refine out of its options.")


def _sources(kind: type[TokenAttribution]) -> str:
    """What a method takes for a feature where a person says nothing."""
    chosen = signature(kind).parameters.get("sources")
    return kind.sources if chosen is None else chosen.default
