"""A result as JSON, and back."""

from typing import Any

from captum.attr import LLMAttributionResult

from captum_heta.attr.heta_terms import TERMS, Terms
from captum_heta.attr.result import LLMTokenAttributionResult
from captum_heta.spans import Span
from captum_heta.stored import an_object, check_format, field, groups, listed, need, numbers, places, rows, text, texts

_FORMAT = 1


def entry_of(name: str, result: LLMAttributionResult) -> dict[str, Any]:
    """The numbers of a result of Captum or of this package, as JSON has them.

    Args:
        name: of the method, for an error.
        result: what it gave.

    Raises:
        ValueError: for numbers that are not finite.
    """
    terms = getattr(result, "terms", None)
    entry = {
        "output_tokens": result.output_tokens,
        "seq_attr": listed(name, result.seq_attr),
        "token_attr": listed(name, result.token_attr),
        "output_probs": listed(name, result.output_probs),
        "terms": None
        if terms is None
        else {term: listed(name, values, missing=True) for term, values in terms._asdict().items()},
    }
    errors = getattr(result, "curvature_errors", None)
    entry |= {} if errors is None else {"curvature_errors": listed(name, errors, missing=True)}
    earlier = getattr(result, "output_attr", None)
    entry |= {} if earlier is None else {"output_attr": listed(name, earlier)}
    contrast, provenance = (getattr(result, name, None) for name in ("contrast", "provenance"))
    entry |= {} if contrast is None else {"contrast": contrast}
    return entry | ({"provenance": dict(provenance)} if provenance else {})


def result_of(where: str, labels: list[str], entry: Any, **more: Any) -> LLMAttributionResult:
    """The result whose numbers these are; Captum's own where there is nothing more than it has.

    Args:
        where: what the entry is, for an error.
        labels: the names of the features.
        entry: as `entry_of` gives it.
        **more: what a result of this package has besides.

    Raises:
        ValueError: if it is none.
    """
    need(isinstance(entry, dict), where, "an object", entry)
    outputs = texts(f"output_tokens in {where}", field(entry, "output_tokens", where))
    across, down = len(labels), len(outputs)
    given: dict[str, Any] = {
        "input_tokens": labels,
        "output_tokens": outputs,
        "seq_attr": numbers(f"seq_attr in {where}", field(entry, "seq_attr", where), across),
    }
    table, probs, terms = (field(entry, name, where) for name in ("token_attr", "output_probs", "terms"))
    given["token_attr"] = None if table is None else rows(f"token_attr in {where}", table, (down,), across)
    given["output_probs"] = None if probs is None else numbers(f"output_probs in {where}", probs, down)
    if "output_attr" in entry:
        more["output_attr"] = rows(f"output_attr in {where}", entry["output_attr"], (down,), down)
    if "contrast" in entry:
        more["contrast"] = text(entry, "contrast")
    if "provenance" in entry:
        more["provenance"] = an_object(entry, "provenance", where)
    if terms is None and not more:
        return LLMAttributionResult(**given)
    if terms is not None:
        need(isinstance(terms, dict), f"terms in {where}", "an object or null", terms)
        more["terms"] = _terms(where, terms, down, across)
        if "curvature_errors" in entry:
            where = f"curvature_errors in {where}"
            more["curvature_errors"] = rows(where, entry["curvature_errors"], (down, 1), across, missing=True)
    return LLMTokenAttributionResult(**given, **more)


def _terms(where: str, terms: dict[str, Any], down: int, across: int) -> Terms:
    kind = next((kind for kind in TERMS if set(kind._fields) == set(terms)), None)
    known = " or ".join(", ".join(kind._fields) for kind in TERMS)
    need(kind is not None, f"terms in {where}", f"an object with {known}", sorted(terms))
    assert kind is not None
    found = [rows(f"{name} in {where}", terms[name], (down, 1), across, missing=True) for name in kind._fields]
    return kind(*found)


def _output_spans(found: dict[str, Any], length: int) -> list[Span] | None:
    if "output_spans" not in found:
        return None
    count = len(texts("output_tokens", field(found, "output_tokens")))
    entries = found["output_spans"]
    need(isinstance(entries, list), "output_spans", "a list of [start, end]", entries)
    return [span for (span,) in places([[span] for span in entries], count, length)]


def to_record(result: LLMTokenAttributionResult) -> dict[str, Any]:
    """All of a result but its input.

    Raises:
        ValueError: for a result that does not know its prompt, and for numbers that are not finite.
    """
    record = {
        "format": _FORMAT,
        "method": result.method,
        "prompt": result.prompt,
        "places": result.places,
        "input_tokens": result.input_tokens,
        "target": result.target,
    } | entry_of(result.method, result)
    more = {"groups": result.groups, "documents": result.documents, "output_spans": result.output_spans}
    return record | {name: value for name, value in more.items() if value is not None}


def from_record(found: Any) -> LLMTokenAttributionResult:
    """The result that `to_record` wrote; ValueError for another content."""
    check_format(found, _FORMAT)
    labels, prompt = texts("input_tokens", field(found, "input_tokens")), text(found, "prompt")
    more: dict[str, Any] = {
        "method": text(found, "method"),
        "prompt": prompt,
        "places": places(field(found, "places"), len(labels), len(prompt)),
        "target": text(found, "target"),
        "groups": groups(found, len(labels)),
        "documents": texts("documents", found["documents"]) if "documents" in found else None,
        "output_spans": _output_spans(found, len(text(found, "target"))),
    }
    result = result_of("it", labels, found, **more)
    assert isinstance(result, LLMTokenAttributionResult)
    return result
