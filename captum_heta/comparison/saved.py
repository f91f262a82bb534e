"""A comparison as JSON, and back: what was read of a file is checked before anything is made of it."""

import json
from collections.abc import Sequence
from pathlib import Path
from reprlib import repr as short
from typing import Any

import torch
from captum.attr import LLMAttributionResult
from torch import Tensor

from captum_heta.attr import HETATerms, LLMTokenAttributionResult
from captum_heta.comparison.result import Comparison, Failure
from captum_heta.spans import Span

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
        "results": {name: _entry(name, result) for name, result in comparison.results.items()},
        "failures": {name: vars(failure) for name, failure in comparison.failures.items()},
        "seconds": comparison.seconds,
    }
    return json.dumps(whole, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def read(file: str | Path) -> Comparison:
    """As `Comparison.load`, which says what may be wrong with a file."""
    content = Path(file).read_bytes()
    try:
        return _comparison(json.loads(content.decode("utf-8"), parse_constant=_refuse))
    except RecursionError:
        reason = "its values are in one another too deeply"
    except ValueError as error:
        reason = str(error)
    raise ValueError(f"{file} is no comparison saved by captum_heta: {reason.removesuffix('.')}.")


def _entry(name: str, result: LLMAttributionResult) -> dict[str, Any]:
    def listed(values: Tensor | None) -> list[Any] | None:
        if values is None:
            return None
        if not values.isfinite().all():
            raise ValueError(
                f"{name!r} has numbers that are not finite, which JSON does not have: take it out of results."
            )
        return values.detach().tolist()

    terms = getattr(result, "terms", None)
    return {
        "output_tokens": result.output_tokens,
        "seq_attr": listed(result.seq_attr),
        "token_attr": listed(result.token_attr),
        "output_probs": listed(result.output_probs),
        "terms": None if terms is None else {term: listed(values) for term, values in terms._asdict().items()},
    }


def _refuse(constant: str) -> None:
    raise ValueError(f"it has {constant}, which is no number of JSON")


def _comparison(found: Any) -> Comparison:
    _need(isinstance(found, dict), "it", "an object", found)
    version = _field(found, "format")
    _need(type(version) is int and version == _FORMAT, "format", str(_FORMAT), version)
    prompt, target = (_field(found, name) for name in ("prompt", "target"))
    for name, text in (("prompt", prompt), ("target", target)):
        _need(isinstance(text, str), name, "text", text)
    labels = _texts("input_tokens", _field(found, "input_tokens"))
    results = {
        name: _result(f"results of {name!r}", labels, entry) for name, entry in _object(found, "results").items()
    }
    failures = {name: _failure(f"failures of {name!r}", entry) for name, entry in _object(found, "failures").items()}
    both = [name for name in results if name in failures]
    _need(not both, "failures", "of other methods than results", both)
    return Comparison(
        prompt=prompt,
        places=_places(_field(found, "places"), len(labels), len(prompt)),
        input_tokens=labels,
        target=target,
        results=results,
        failures=failures,
        seconds=_seconds(_object(found, "seconds"), [*results, *failures]),
    )


def _places(found: Any, count: int, length: int) -> list[list[Span]]:
    """Lists of spans for each of ``count`` features, inside a text of ``length`` characters."""
    _need(isinstance(found, list) and len(found) == count, "places", f"a list for each of the {count} tokens", found)
    for i, spans in enumerate(found):
        where = f"places[{i}]"
        _need(isinstance(spans, list), where, "a list of [start, end]", spans)
        for span in spans:
            whole = isinstance(span, list) and len(span) == 2 and all(type(end) is int for end in span)
            _need(whole and 0 <= span[0] <= span[1] <= length, where, f"[start, end] from 0 to {length}", span)
    return [[(start, end) for start, end in spans] for spans in found]


def _result(where: str, labels: list[str], entry: Any) -> LLMAttributionResult:
    _need(isinstance(entry, dict), where, "an object", entry)
    outputs = _texts(f"output_tokens in {where}", _field(entry, "output_tokens", where))
    across, down = len(labels), len(outputs)
    given: dict[str, Any] = {
        "input_tokens": labels,
        "output_tokens": outputs,
        "seq_attr": _numbers(f"seq_attr in {where}", _field(entry, "seq_attr", where), across),
    }
    rows, probs, terms = (_field(entry, name, where) for name in ("token_attr", "output_probs", "terms"))
    given["token_attr"] = None if rows is None else _rows(f"token_attr in {where}", rows, (down,), across)
    given["output_probs"] = None if probs is None else _numbers(f"output_probs in {where}", probs, down)
    if terms is None:
        return LLMAttributionResult(**given)
    _need(isinstance(terms, dict), f"terms in {where}", "an object or null", terms)
    found = {
        name: _rows(f"{name} in {where}", _field(terms, name, f"terms in {where}"), (down, 1), across)
        for name in HETATerms._fields
    }
    return LLMTokenAttributionResult(**given, terms=HETATerms(**found))


def _failure(where: str, entry: Any) -> Failure:
    _need(isinstance(entry, dict), where, "an object", entry)
    kind, message = (_field(entry, name, where) for name in ("kind", "message"))
    _need(isinstance(kind, str) and isinstance(message, str), where, "a kind and a message", entry)
    return Failure(kind, message)


def _seconds(found: dict[str, Any], methods: Sequence[str]) -> dict[str, float]:
    for name in methods:
        _field(found, name, "seconds")
    for name, value in found.items():
        _need(_is_number(value) and value >= 0, f"seconds of {name!r}", "a number from 0 on", value)
    return found


def _rows(where: str, found: Any, counts: Sequence[int], across: int) -> Tensor:
    _need(isinstance(found, list) and len(found) in counts, where, f"a list of {counts[0]} lists", found)
    return torch.stack([_numbers(where, row, across) for row in found])


def _numbers(where: str, found: Any, count: int) -> Tensor:
    _need(isinstance(found, list) and len(found) == count, where, f"a list of {count} numbers", found)
    for value in found:
        _need(_is_number(value), where, "numbers that float32 has", value)
    return torch.tensor(found, dtype=torch.float32, device="cpu")


def _is_number(value: Any) -> bool:
    """Whether it is finite in float32, which is what results are read as."""
    return type(value) in (int, float) and abs(value) <= torch.finfo(torch.float32).max


def _texts(where: str, found: Any) -> list[str]:
    listed = isinstance(found, list) and found and all(isinstance(text, str) for text in found)
    _need(bool(listed), where, "a list of texts, one at least", found)
    return found


def _object(found: dict[str, Any], name: str) -> dict[str, Any]:
    entries = _field(found, name)
    _need(isinstance(entries, dict), name, "an object", entries)
    return entries


def _field(found: dict[str, Any], name: str, where: str = "it") -> Any:
    if name not in found:
        raise ValueError(f"{where} must have {name!r}, has {short(list(found))}")
    return found[name]


def _need(holds: bool, where: str, expected: str, value: Any) -> None:
    if not holds:
        raise ValueError(f"{where} must be {expected}, got {short(value)}")
