import json
import re

import pytest

from captum_heta.benchmark.lines import as_json
from captum_heta.benchmark.shape import BEGINNING, line_of
from captum_heta.datasets.records import abbreviated

LINE = {"data": "d", "example": "e", "method": "m", "metrics": {"dsa": 0.5, "f1": None}, "scores": [1, -0.5]}


@pytest.mark.parametrize(
    "line",
    [
        LINE,
        LINE | {"target": " ü", "tokens": 2, "seconds": 0.1, "metrics": {}, "error": "x"},
        {name: LINE[name] for name in ("data", "example", "method")} | {"skipped": "\ud800"},
    ],
)
def test_lines_are_read_as_they_are_written(line):
    written = as_json(line).encode()
    assert line_of(written) == line
    assert written.startswith(BEGINNING)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{}", "has no 'data'"),
        (b"123", "must be an object with named fields, got 123"),
        (b"null", "must be an object with named fields, got None"),
        (b"[1]", "must be an object with named fields, got [1]"),
        (b"", "is no JSON: Expecting value"),
        (b'{"data"', "is no JSON: Expecting ':'"),
        (b"\0\0\0\0", "is no JSON: Expecting value"),
        (b'{"data": "\xff"}', "is no UTF-8 text: 'utf-8' codec can't decode byte 0xff"),
        (b"[" * 100_000, "is nested too deep"),
        (b'{"data": NaN}', "is no JSON: NaN is no number"),
        (b'{"data": "d", "example": "e"}', "has no 'method'"),
        (
            b'{"data": "d", "example": "e", "method": "m"}',
            "has no 'metrics', and neither 'skipped' nor 'error' says why",
        ),
    ],
    ids=range(12),
)
def test_what_is_no_line_is_told(content, problem):
    with pytest.raises(ValueError, match="^" + re.escape(problem)):
        line_of(content)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("data", 1, "a text"),
        ("example", ["e"], "a text"),
        ("method", None, "a text"),
        ("error", {}, "a text"),
        ("skipped", 3, "a text"),
        ("target", 3, "a text"),
        ("tokens", "3", "a number"),
        ("seconds", True, "a number"),
        ("metrics", [0.5], "an object of numbers"),
        ("metrics", {"dsa": "0.5"}, "an object of numbers"),
        ("metrics", {"dsa": True}, "an object of numbers"),
        ("scores", 0.5, "a list of numbers"),
        ("scores", [0.5, None], "a list of numbers"),
    ],
)
def test_fields_of_another_type_are_told(field, value, expected):
    with pytest.raises(ValueError, match=re.escape(f"must have {expected} as {field!r}, got {value!r}")):
        line_of(json.dumps(LINE | {field: value}).encode())


def test_a_number_that_is_too_large_is_told():
    with pytest.raises(ValueError, match="must have a list of numbers as 'scores', got .1, inf."):
        line_of(json.dumps(LINE).encode().replace(b"-0.5", b"1e999"))


def test_long_and_deep_values_are_shortened():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert abbreviated(deep) == "a value that is nested too deep"
    assert len(abbreviated("x" * 1000, 80)) == 80
