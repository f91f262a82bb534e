"""What was read of a JSON file, checked before anything is made of it: each function says where what is wrong."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from reprlib import repr as short
from typing import Any, TypeVar

import torch
from torch import Tensor

from captum_heta.spans import Span

Made = TypeVar("Made")


def read_json(file: str | Path, kind: str, make: Callable[[Any], Made]) -> Made:
    """What ``make`` makes of a JSON file.

    Args:
        file: the file.
        kind: what it should be, such as "comparison".
        make: raises ValueError for another content.

    Raises:
        ValueError: if it is none; says what is wrong with it.
        OSError: if it cannot be read.
    """
    content = Path(file).read_bytes()
    try:
        return make(json.loads(content.decode("utf-8"), parse_constant=_refuse))
    except RecursionError:
        reason = "its values are in one another too deeply"
    except ValueError as error:
        reason = str(error)
    raise ValueError(f"{file} is no {kind} saved by captum_heta: {reason.removesuffix('.')}.")


def as_json(whole: Any) -> str:
    """JSON as people read it; ValueError for numbers that are not finite, which JSON does not have."""
    return json.dumps(whole, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def listed(name: str, values: Tensor | None, missing: bool = False) -> list[Any] | None:
    """A tensor as lists.

    Args:
        name: of what it belongs to, for an error.
        values: the tensor.
        missing: whether numbers may be missing: NaN is then null, for `rows`.

    Raises:
        ValueError: for numbers that are not finite.
    """
    if values is None:
        return None
    if missing and values.isnan().any():
        return [[None if value != value else value for value in row] for row in values.detach().tolist()]
    if not values.isfinite().all():
        raise ValueError(f"{name!r} has numbers that are not finite, which JSON does not have: take it out of results.")
    return values.detach().tolist()


def need(holds: bool, where: str, expected: str, value: Any) -> None:
    """Raise ValueError unless something holds."""
    if not holds:
        raise ValueError(f"{where} must be {expected}, got {short(value)}")


def field(record: dict[str, Any], name: str, where: str = "it") -> Any:
    """An entry that must be there."""
    if name not in record:
        raise ValueError(f"{where} must have {name!r}, has {short(list(record))}")
    return record[name]


def an_object(record: dict[str, Any], name: str, where: str = "it") -> dict[str, Any]:
    """An entry that is an object."""
    entries = field(record, name, where)
    need(isinstance(entries, dict), name, "an object", entries)
    return entries


def check_format(record: Any, version: int) -> None:
    """Raise ValueError unless this is an object of a format's version."""
    need(isinstance(record, dict), "it", "an object", record)
    found = field(record, "format")
    need(type(found) is int and found == version, "format", str(version), found)


def groups(record: dict[str, Any], count: int) -> list[str] | None:
    """The document or message of each of ``count`` features, where a record has them."""
    names = record.get("groups")
    if names is not None:
        need(len(texts("groups", names)) == count, "groups", f"one for each of the {count} tokens", names)
    return names


def text(record: dict[str, Any], name: str) -> str:
    """An entry that is text."""
    value = field(record, name)
    need(isinstance(value, str), name, "text", value)
    return value


def texts(where: str, entries: Any) -> list[str]:
    """A list of texts, one at least."""
    is_list = isinstance(entries, list) and entries and all(isinstance(one, str) for one in entries)
    need(bool(is_list), where, "a list of texts, one at least", entries)
    return entries


def places(entries: Any, count: int, length: int) -> list[list[Span]]:
    """Lists of spans for each of ``count`` features, inside a text of ``length`` characters."""
    need(
        isinstance(entries, list) and len(entries) == count, "places", f"a list for each of the {count} tokens", entries
    )
    for i, spans in enumerate(entries):
        where = f"places[{i}]"
        need(isinstance(spans, list), where, "a list of [start, end]", spans)
        for span in spans:
            whole = isinstance(span, list) and len(span) == 2 and all(type(end) is int for end in span)
            need(whole and 0 <= span[0] <= span[1] <= length, where, f"[start, end] from 0 to {length}", span)
    return [[(start, end) for start, end in spans] for spans in entries]


def numbers(where: str, entries: Any, count: int, missing: bool = False) -> Tensor:
    """``count`` numbers as a float32 tensor; null, if they may be missing, is NaN."""
    need(isinstance(entries, list) and len(entries) == count, where, f"a list of {count} numbers", entries)
    for value in entries:
        need(is_number(value) or (missing and value is None), where, "numbers that float32 has", value)
    found = [float("nan") if value is None else value for value in entries]
    return torch.tensor(found, dtype=torch.float32, device="cpu")


def rows(where: str, entries: Any, counts: Sequence[int], across: int, missing: bool = False) -> Tensor:
    """As many rows of numbers as one of ``counts``."""
    need(isinstance(entries, list) and len(entries) in counts, where, f"a list of {counts[0]} lists", entries)
    return torch.stack([numbers(where, row, across, missing) for row in entries])


def is_number(value: Any) -> bool:
    """Whether it is finite in float32, which is what results are read as."""
    return type(value) in (int, float) and abs(value) <= torch.finfo(torch.float32).max


def _refuse(constant: str) -> None:
    raise ValueError(f"it has {constant}, which is no number of JSON")
