"""What a line of a benchmark is, so that one that is damaged or of something else is told and not adopted."""

import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from captum_heta.datasets.records import abbreviated

# what each line begins with, as it is written
BEGINNING = b'{"data": '


class Key(NamedTuple):
    """What a line is about."""

    data: str
    example: str
    method: str


def key_of(line: dict[str, Any]) -> Key:
    """The key of a line."""
    return Key(line["data"], line["example"], line["method"])


def line_of(content: bytes) -> dict[str, Any]:
    """A line from its bytes.

    Raises:
        ValueError: if it is none; the message goes on after the name of the file and the line's number.
    """
    try:
        line = json.loads(content.decode("utf-8"), parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise ValueError(f"is no UTF-8 text: {error}") from error
    except RecursionError as error:
        raise ValueError("is nested too deep") from error
    except ValueError as error:
        raise ValueError(f"is no JSON: {error}") from error
    if not isinstance(line, dict):
        raise ValueError(f"must be an object with named fields, got {line!r:.80}")
    for name in Key._fields:
        if name not in line:
            raise ValueError(f"has no {name!r}")
    if not any(name in line for name in ("metrics", "skipped", "error")):
        raise ValueError("has no 'metrics', and neither 'skipped' nor 'error' says why")
    for name, (expected, valid) in _FIELDS.items():
        if name in line and not valid(line[name]):
            raise ValueError(f"must have {expected} as {name!r}, got {abbreviated(line[name], 80)}")
    return line


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _are_metrics(value: Any) -> bool:
    return isinstance(value, dict) and all(number is None or _is_number(number) for number in value.values())


def _are_scores(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_number, value))


_TEXT: tuple[str, Callable[[Any], bool]] = ("a text", _is_text)
_FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys((*Key._fields, "target", "skipped", "error"), _TEXT),
    **dict.fromkeys(("tokens", "seconds"), ("a number", _is_number)),
    "metrics": ("an object of numbers", _are_metrics),
    "scores": ("a list of numbers", _are_scores),
}
