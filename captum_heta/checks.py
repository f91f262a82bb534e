"""Numbers that a person passes, checked: what each function says is the value, what was expected and the name."""

import math
import operator
from typing import Any

_SEEDS = 2**63  # what torch's and numpy's generators both take


def check_count(name: str, value: Any, least: int = 1) -> int:
    """``value`` as an int.

    Raises:
        ValueError: unless it is a whole number, of whatever integer type, and at least ``least``.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise ValueError(f"{name} must be a whole number, got {value!r}.")
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}.")
    return number


def check_batch_size(value: Any) -> None:
    """Raise ValueError unless ``perturbations_per_eval`` is a whole number of at least 1, or None."""
    if value is not None:
        try:
            check_count("perturbations_per_eval", value)
        except ValueError as error:
            raise ValueError(f"{error} None fits it to a memory budget.") from None


def check_seed(value: Any) -> int:
    """A seed as an int.

    Raises:
        ValueError: unless it is a whole number from 0 to 2**63 - 1.
    """
    number = check_count("seed", value, least=0)
    if number >= _SEEDS:
        raise ValueError(f"seed must be below 2**63, got {number}.")
    return number


def check_weight(name: str, value: Any) -> float:
    """``value`` as a float.

    Raises:
        ValueError: unless it is a finite number >= 0.
    """
    number = _number(name, value)
    if not number >= 0:
        raise ValueError(f"{name} is a factor and must be >= 0, got {value!r}.")
    if number == math.inf:
        raise ValueError(f"{name} is a factor and must be finite, got {value!r}.")
    return number


def check_part(name: str, value: Any, of: str, *, zero: bool = False, one: bool = False) -> float:
    """A part ``of`` a whole as a float, in (0, 1), perhaps with its ends.

    Raises:
        ValueError: unless it is such a number.
    """
    number = _number(name, value)
    if 0 < number < 1 or (zero and number == 0) or (one and number == 1):
        return number
    ends = f"{'[' if zero else '('}0, 1{']' if one else ')'}"
    raise ValueError(f"{name} is a part of {of} and must be in {ends}, got {value!r}.")


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool | str):
        raise ValueError(f"{name} must be a number, got {value!r}.")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number, got {value!r}.") from None
