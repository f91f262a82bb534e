"""Records of JSON, JSON Lines, Parquet and text, whose fields are checked when they are read."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captum_heta.datasets.example import Example
from captum_heta.spans import Span

LINE = "text"  # the field of a line of plain text, as the library `datasets` calls it


@dataclass(frozen=True)
class Record:
    """One record of a data set. Every method that reads a field raises ValueError if it is not as it should be.

    Attributes:
        fields: the record itself.
        where: names the file and the record in messages.
    """

    fields: Mapping[str, Any]
    where: str

    def error(self, field: str, problem: str) -> ValueError:
        """An error that names the file, the record and the field."""
        return ValueError(f"{self.where}: the field {field!r} {problem}")

    def verbatim(self, field: str) -> str:
        """A text that is not blank, as it is: spans count its characters."""
        value = self._typed(field, "a text", lambda value: isinstance(value, str))
        if not value.strip():
            raise self.error(field, "is blank, expected a text.")
        return value

    def text(self, field: str) -> str:
        """A text that is not blank, without white space around it."""
        return self.verbatim(field).strip()

    def integer(self, field: str) -> int:
        """A whole number."""
        return self._typed(field, "a whole number", _is_integer)

    def flag(self, field: str) -> bool:
        """True or False."""
        return self._typed(field, "true or false", lambda value: isinstance(value, bool))

    def texts(self, field: str, blank: bool = False) -> list[str]:
        """Texts without white space around them, none of them ``blank`` unless that is allowed."""

        def valid(values: Any) -> bool:
            return isinstance(values, list) and all(
                isinstance(value, str) and (blank or value.strip()) for value in values
            )

        expected = "a list of texts" if blank else "a list of texts that are not blank"
        return [value.strip() for value in self._typed(field, expected, valid)]

    def integers(self, field: str) -> list[int]:
        """A list of whole numbers, which may be empty."""
        return self._typed(field, "a list of whole numbers", lambda value: isinstance(value, list) and _are(value))

    def span(self, field: str, prompt: str) -> Span:
        """The characters [start, end) of ``prompt``."""
        value = self._typed(field, "a pair [start, end]", lambda value: isinstance(value, list) and _are(value, 2))
        return self._inside(field, value, prompt)

    def spans(self, field: str, prompt: str) -> tuple[Span, ...]:
        """Character ranges [start, end) of ``prompt``, at least one, in the order in which they start."""

        def valid(values: Any) -> bool:
            return isinstance(values, list) and all(isinstance(value, list) and _are(value, 2) for value in values)

        values = self._typed(field, "a list of pairs [start, end]", valid)
        if not values:
            raise self.error(field, "is empty, expected at least one pair [start, end].")
        return tuple(sorted({self._inside(field, value, prompt) for value in values}))

    def table(self, field: str, *names: str) -> list["Record"]:
        """The rows of a table with columns of these names, at least one.

        It is a list of objects, or of lists in the order of ``names``; or an object of columns, lists of one length, as
        the library ``datasets`` has it.
        """
        columns = ", ".join(map(repr, names))
        rows = self._typed(field, f"a table with {columns}", lambda value: isinstance(value, list | Mapping))
        if isinstance(rows, Mapping):
            inner = Record(rows, f"{self.where}, {field!r}")
            lists = [inner._typed(name, "a list", lambda value: isinstance(value, list)) for name in names]
            if len(set(map(len, lists))) > 1:
                raise self.error(field, f"must have columns of one length, got {columns} of {[*map(len, lists)]}.")
            rows = list(zip(*lists, strict=True))
        found = [
            dict(zip(names, row, strict=True)) if isinstance(row, list | tuple) and len(row) == len(names) else row
            for row in rows
        ]
        wrong = [row for row in found if not isinstance(row, Mapping)]
        if wrong or not found:
            raise self.error(field, f"must have rows of {columns}, got {abbreviated(wrong[0]) if wrong else 'none'}.")
        return [Record(row, f"{self.where}, {field!r}, row {number}") for number, row in enumerate(found, start=1)]

    def _typed(self, field: str, expected: str, valid: Callable[[Any], bool]) -> Any:
        if field not in self.fields:
            known = ", ".join(map(repr, self.fields)) or "none"
            raise self.error(field, f"is missing, expected {expected}; the fields there are {known:.500}.")
        if not valid(self.fields[field]):
            raise self.error(field, f"must be {expected}, got {abbreviated(self.fields[field])}.")
        return self.fields[field]

    def _inside(self, field: str, value: list[int], prompt: str) -> Span:
        start, end = value
        if not 0 <= start < end <= len(prompt):
            raise self.error(
                field, f"has the span {value}, expected 0 <= start < end <= {len(prompt)}, the prompt's characters."
            )
        return start, end


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are(values: list[Any], count: int | None = None) -> bool:
    return len(values) == (len(values) if count is None else count) and all(map(_is_integer, values))


def of_file(file: Path, key: str | None = None) -> list[Record]:
    """The records of a JSON, JSON Lines, Parquet or text file, numbered from 1 in messages.

    JSON and JSON Lines are told apart by what is in the file: the suffix of published files is sometimes wrong. Of a
    ``.txt`` file each line is a record with the one field ``text``. Blank lines are skipped.

    Args:
        file: what to read, UTF-8 unless it is Parquet.
        key: where the list is, if the JSON is an object that holds it; None if it is the list.

    Raises:
        ImportError: for a ``.parquet`` file without the library ``pyarrow``.
        ValueError: if the file is not of these formats, a record is no JSON object, or there are none.
    """
    if file.suffix == ".parquet":
        return of_rows(_of_parquet(file), str(file))
    raw = file.read_bytes()
    try:
        content = raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{file}, line {line} must be UTF-8 text: {error}.") from error
    if file.suffix == ".txt":
        return of_rows([{LINE: line} for line in content.split("\n") if line.strip()], str(file))
    rows = _parsed(content, file)
    if isinstance(rows, dict):
        rows = rows.get(key, [rows])  # a single line of JSON Lines is an object, too
    if not isinstance(rows, list):
        raise ValueError(
            f"{file} must hold a list of records{f' under {key!r}' if key else ''}, got {abbreviated(rows)}."
        )
    return of_rows(rows, str(file))


def of_rows(rows: Iterable[Any], where: str) -> list[Record]:
    """The records of rows that are there already; ``where`` names their source.

    Raises:
        ValueError: if a row is no mapping, or there are none.
    """
    records = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise ValueError(f"{where}, record {number}: must be an object with named fields, got {abbreviated(row)}.")
        name = f" (id {abbreviated(row['id'])})" if "id" in row else ""
        records.append(Record(row, f"{where}, record {number}{name}"))
    if not records:
        raise ValueError(f"{where} holds no records.")
    return records


def are_lines(records: list[Record]) -> bool:
    """Whether the records are lines of plain text."""
    return set(records[0].fields) == {LINE}


def with_unique_ids(examples: list[Example], source: str | Path) -> list[Example]:
    """The examples themselves.

    Raises:
        ValueError: if two have the same id.
    """
    seen = set()
    for example in examples:
        if example.id in seen:
            raise ValueError(f"{source} has two records with the id {abbreviated(example.id)}: ids must be unique.")
        seen.add(example.id)
    return examples


def abbreviated(value: Any, most: int = 200) -> str:
    """The first ``most`` characters of a value of a record, which may be nested deeper than Python can write it."""
    try:
        return f"{value!r:.{most}}"
    except RecursionError:
        return "a value that is nested too deep"


def _parsed(content: str, file: Path) -> Any:
    try:
        return _loaded(content)
    except ValueError as error:
        whole = error
    rows: list[Any] = []
    # not splitlines(), which also cuts at characters that JSON allows inside of a text
    for number, line in enumerate(content.split("\n"), start=1):
        try:
            if line.strip():
                rows.append(_loaded(line))
        except ValueError as error:
            if not rows:
                raise ValueError(f"{file} is neither JSON nor JSON Lines: {whole}.") from whole
            raise ValueError(f"{file}, line {number} is not JSON: {error}.") from error
    return rows


def _of_parquet(file: Path) -> list[Any]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(f"To read {file} needs the library pyarrow: pip install 'captum-heta[benchmark]'.") from error
    try:
        return parquet.read_table(file).to_pylist()
    except ValueError as error:  # pyarrow's own are of it
        raise ValueError(f"{file} is no Parquet: {error}.") from error


def _loaded(content: str) -> Any:
    """What JSON says.

    Raises:
        ValueError: if it is none, or nested deeper than Python reads it.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
