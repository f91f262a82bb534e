"""Functions that take the arguments of another one, written once."""

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def taking_those_of(other: Callable[P, R]) -> Callable[[Callable[..., R]], Callable[P, R]]:
    """A function with the arguments and the defaults of ``other``, in `help` as for a type checker.

    All of them are passed on, positional ones by position and the others by name.
    """
    signature = inspect.signature(other)

    def decorated(function: Callable[..., R]) -> Callable[P, R]:
        @functools.wraps(function)
        def run(*arguments: P.args, **named: P.kwargs) -> R:
            bound = signature.bind(*arguments, **named)
            bound.apply_defaults()
            return function(*bound.args, **bound.kwargs)

        run.__signature__ = signature  # type: ignore[attr-defined]
        return run

    return decorated
