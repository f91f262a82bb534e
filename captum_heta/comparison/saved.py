"""A comparison as JSON, and back: what was read of a file is checked before anything is made of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from captum_heta.attr.saved import entry_of, result_of
from captum_heta.comparison.result import Comparison, Failure
from captum_heta.stored import (
    an_object,
    as_json,
    check_format,
    field,
    groups,
    is_number,
    need,
    places,
    read_json,
    text,
    texts,
)

_FORMAT = 1


def to_json(comparison: Comparison) -> str:
    """All of a comparison but what its results link to besides (their inputs).

    Raises:
        ValueError: for numbers that are not finite, which JSON does not have.
    """
    whole = {
        "format": _FORMAT,
        "prompt": comparison.prompt,
        "places": comparison.places,
        "input_tokens": comparison.input_tokens,
        "target": comparison.target,
        "results": {name: entry_of(name, result) for name, result in comparison.results.items()},
        "failures": {name: vars(failure) for name, failure in comparison.failures.items()},
        "seconds": comparison.seconds,
    }
    whole |= {"contrast": comparison.contrast} if comparison.contrast is not None else {}
    whole |= {"groups": comparison.groups} if comparison.groups is not None else {}
    whole |= {"provenance": comparison.provenance} if comparison.provenance else {}
    return as_json(whole)


def read(file: str | Path) -> Comparison:
    """As `Comparison.load`, which says what may be wrong with a file."""
    return read_json(file, "comparison", _comparison)


def _comparison(found: Any) -> Comparison:
    check_format(found, _FORMAT)
    prompt, target = (text(found, name) for name in ("prompt", "target"))
    labels = texts("input_tokens", field(found, "input_tokens"))
    where = places(field(found, "places"), len(labels), len(prompt))
    results = {
        name: result_of(f"results of {name!r}", labels, entry) for name, entry in an_object(found, "results").items()
    }
    failures = {name: _failure(f"failures of {name!r}", entry) for name, entry in an_object(found, "failures").items()}
    both = [name for name in results if name in failures]
    need(not both, "failures", "of other methods than results", both)
    return Comparison(
        prompt=prompt,
        places=where,
        input_tokens=labels,
        target=target,
        results=results,
        failures=failures,
        seconds=_seconds(an_object(found, "seconds"), [*results, *failures]),
        groups=groups(found, len(labels)),
        provenance=an_object(found, "provenance") if "provenance" in found else {},
        contrast=text(found, "contrast") if "contrast" in found else None,
    )


def _failure(where: str, entry: Any) -> Failure:
    need(isinstance(entry, dict), where, "an object", entry)
    kind, message = (field(entry, name, where) for name in ("kind", "message"))
    need(isinstance(kind, str) and isinstance(message, str), where, "a kind and a message", entry)
    return Failure(kind, message)


def _seconds(found: dict[str, Any], methods: Sequence[str]) -> dict[str, float]:
    for name in methods:
        field(found, name, "seconds")
    for name, value in found.items():
        need(is_number(value) and value >= 0, f"seconds of {name!r}", "a number from 0 on", value)
    return found
