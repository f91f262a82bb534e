import json
import re

import pytest

from captum_heta.datasets import Example
from captum_heta.datasets.records import Record, are_lines, of_file, of_rows, with_unique_ids

ROWS = [{"a": 1}, {"a": "two\u2028lines"}]


@pytest.fixture
def file(tmp_path):
    def write(content, name="data.json"):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (json.dumps(ROWS), None),
        (json.dumps({"name": "x", "items": ROWS}, indent=2), "items"),
        (json.dumps(ROWS), "items"),
        ("\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS), None),
        ("\n".join(json.dumps(row) for row in ROWS) + "\n\n", "items"),
        ("\ufeff" + json.dumps(ROWS), None),
    ],
    ids=["list", "list under a key", "list, key not needed", "lines", "lines, key not needed", "byte order mark"],
)
def test_json_and_json_lines_are_told_apart_by_content(file, content, key):
    assert [record.fields for record in of_file(file(content), key)] == ROWS


def test_one_line_of_json_lines_is_one_record(file):
    assert [record.fields for record in of_file(file('{"a": 1}\n'), "items")] == [{"a": 1}]


def test_lines_of_text(file):
    records = of_file(file("one \n\ntwo", "data.txt"))
    assert [record.fields for record in records] == [{"text": "one "}, {"text": "two"}]
    assert are_lines(records)
    assert not are_lines(of_rows([{"text": "x", "id": "y"}], "rows"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "data.json holds no records"),
        ("[]", "data.json holds no records"),
        ("{broken", "data.json is neither JSON nor JSON Lines: Expecting property name"),
        ('{"a": 1}\n{"a": \n', "data.json, line 2 is not JSON: Expecting value"),
        ('"text"', "data.json must hold a list of records under 'items', got 'text'"),
        ('{"items": 3}', "data.json must hold a list of records under 'items', got 3"),
        ('[{"id": "x"}, 7]', "data.json, record 2: must be an object with named fields, got 7"),
        ("[" * 100_000, "data.json is neither JSON nor JSON Lines: it is nested too deep."),
        ('{"a": 1}\n' + "[" * 100_000, "data.json, line 2 is not JSON: it is nested too deep."),
        (f'{{"a": {"9" * 5000}}}', "data.json is neither JSON nor JSON Lines: Exceeds the limit"),
    ],
    ids=range(10),
)
def test_wrong_content_is_told(file, content, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        of_file(file(content), "items")


def test_wrong_encoding_is_told(tmp_path):
    path = tmp_path / "data.json"
    path.write_bytes(b'{"a": 1}\n{"a": "\xff"}\n')
    with pytest.raises(ValueError, match="data.json, line 2 must be UTF-8 text: 'utf-8' codec can't decode"):
        of_file(path)


def test_lines_end_as_other_systems_end_them(tmp_path):
    path = tmp_path / "data.txt"
    path.write_bytes(b"one\r\ntwo\rthree\n")
    assert [record.fields["text"] for record in of_file(path)] == ["one", "two", "three"]


def test_a_value_that_python_cannot_write_is_told():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for field, read in (("a", "text"), ("a", "integer"), ("a", "texts")):
        with pytest.raises(ValueError, match="must be .*, got a value that is nested too deep"):
            getattr(of_rows([{field: deep}], "rows")[0], read)(field)
    with pytest.raises(ValueError, match="record 1 .id a value that is nested too deep.: the field .a. is missing"):
        of_rows([{"id": deep}], "rows")[0].text("a")
    with pytest.raises(ValueError, match="rows, record 1: must be an object with named fields, got a value that"):
        of_rows([deep], "rows")


def test_numbers_that_are_none_are_no_whole_numbers(file):
    (record,) = of_file(file('{"f": NaN, "g": [Infinity], "h": [[NaN, 1]]}'))
    with pytest.raises(ValueError, match="data.json, record 1: the field 'f' must be a whole number, got nan"):
        record.integer("f")
    with pytest.raises(ValueError, match="the field 'g' must be a list of whole numbers, got .inf."):
        record.integers("g")
    with pytest.raises(ValueError, match="the field 'h' must be a list of pairs"):
        record.spans("h", "abc")


def test_long_messages_are_shortened():
    with pytest.raises(ValueError) as told:  # noqa: PT011
        of_rows([{f"field {number}": 1 for number in range(1000)} | {"id": "x" * 9999}], "rows")[0].text("a")
    assert len(str(told.value)) < 1000


def test_half_a_character_is_read_as_it_is(file):
    (record,) = of_file(file('{"f": "a \\ud800"}'))  # a benchmark leaves such an example out, and the others go on
    assert record.text("f") == "a \ud800"


def test_fields_that_are_right():
    record = Record(
        {"t": " two words\n", "i": 0, "ts": ["a ", "b"], "is": [], "s": [0, 3], "ss": [[2, 3], [0, 1], [2, 3]]}, "here"
    )
    assert record.text("t") == "two words"
    assert record.verbatim("t") == " two words\n"
    assert record.integer("i") == 0
    assert record.texts("ts") == ["a", "b"]
    assert Record({"ts": [" a", " "]}, "here").texts("ts", blank=True) == ["a", ""]
    assert Record({"b": False}, "here").flag("b") is False
    assert record.integers("is") == []
    assert record.span("s", "abc") == (0, 3)
    assert record.spans("ss", "abc") == ((0, 1), (2, 3))


TABLES = [
    [{"t": "a", "n": 1, "more": None}, {"t": "b", "n": 2}],
    [["a", 1], ["b", 2]],
    {"t": ["a", "b"], "n": [1, 2]},
]


@pytest.mark.parametrize("value", TABLES, ids=["objects", "lists", "columns"])
def test_tables_have_rows(value):
    rows = Record({"f": value}, "here").table("f", "t", "n")
    assert [(row.text("t"), row.integer("n")) for row in rows] == [("a", 1), ("b", 2)]
    with pytest.raises(ValueError, match="here, 'f', row 2: the field 'n' must be a text, got 2"):
        rows[1].text("n")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("ab", "here: the field 'f' must be a table with 't', 'n', got 'ab'"),
        ([], "here: the field 'f' must have rows of 't', 'n', got none"),
        ({"t": [], "n": []}, "here: the field 'f' must have rows of 't', 'n', got none"),
        ([["a", 1], ["b"]], "here: the field 'f' must have rows of 't', 'n', got ['b']"),
        ({"t": ["a"], "n": [1, 2]}, "here: the field 'f' must have columns of one length, got 't', 'n' of [1, 2]"),
        ({"t": ["a"]}, "here, 'f': the field 'n' is missing, expected a list; the fields there are 't'"),
        ({"t": ["a"], "n": 1}, "here, 'f': the field 'n' must be a list, got 1"),
    ],
)
def test_what_is_no_table_is_told(value, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        Record({"f": value}, "here").table("f", "t", "n")


@pytest.mark.parametrize(
    ("read", "value", "told"),
    [
        ("text", 3, "must be a text, got 3"),
        ("text", None, "must be a text, got None"),
        ("text", " \n", "is blank, expected a text"),
        ("integer", "3", "must be a whole number, got '3'"),
        ("integer", True, "must be a whole number, got True"),
        ("integer", 3.0, "must be a whole number, got 3.0"),
        ("texts", "abc", "must be a list of texts that are not blank, got 'abc'"),
        ("texts", ["a", 1], "must be a list of texts that are not blank, got ['a', 1]"),
        ("texts", ["a", ""], "must be a list of texts that are not blank, got ['a', '']"),
        ("flag", 1, "must be true or false, got 1"),
        ("integers", [1, "2"], "must be a list of whole numbers, got [1, '2']"),
        ("integers", 1, "must be a list of whole numbers, got 1"),
    ],
)
def test_fields_of_a_wrong_type_are_told(read, value, told):
    with pytest.raises(ValueError, match=re.escape(f"file.json, record 1 (id 'x'): the field 'f' {told}")):
        getattr(of_rows([{"id": "x", "f": value}], "file.json")[0], read)("f")


@pytest.mark.parametrize(
    ("read", "value", "told"),
    [
        ("span", [0], "must be a pair [start, end], got [0]"),
        ("span", [0, 1, 2], "must be a pair [start, end], got [0, 1, 2]"),
        ("span", [0, 1.5], "must be a pair [start, end], got [0, 1.5]"),
        ("span", "01", "must be a pair [start, end], got '01'"),
        ("span", [2, 2], "has the span [2, 2], expected 0 <= start < end <= 3"),
        ("span", [-1, 2], "has the span [-1, 2], expected 0 <= start < end <= 3"),
        ("span", [1, 4], "has the span [1, 4], expected 0 <= start < end <= 3"),
        ("spans", [], "is empty, expected at least one pair [start, end]"),
        ("spans", [0, 1], "must be a list of pairs [start, end], got [0, 1]"),
        ("spans", [[0, 1], [3, 4]], "has the span [3, 4], expected 0 <= start < end <= 3"),
    ],
)
def test_wrong_spans_are_told(read, value, told):
    with pytest.raises(ValueError, match=re.escape(f"here: the field 'f' {told}")):
        getattr(Record({"f": value}, "here"), read)("f", "abc")


def test_missing_field_is_told_with_those_that_are_there():
    with pytest.raises(
        ValueError, match="here: the field 'f' is missing, expected a text; the fields there are 'a', 'b'"
    ):
        Record({"a": 1, "b": 2}, "here").text("f")
    with pytest.raises(ValueError, match="the fields there are none"):
        Record({}, "here").text("f")


def test_long_values_are_shortened():
    with pytest.raises(ValueError, match="got '9+") as caught:
        Record({"f": "9" * 1000}, "here").integer("f")
    assert len(str(caught.value)) < 300


def test_ids_must_be_unique():
    one, other = (Example("p", " t", (), (), name, "s", "l") for name in "ab")
    assert with_unique_ids([one, other], "x.json") == [one, other]
    with pytest.raises(ValueError, match="x.json has two records with the id 'a': ids must be unique"):
        with_unique_ids([one, other, one], "x.json")
