"""What `Comparison.load` does not take, and what `Comparison.save` does not write."""

import copy
import json

import pytest
import torch

from captum_heta.comparison import Comparison

SAVED = {
    "format": 1,
    "prompt": "ab",
    "places": [[[0, 1]], [[1, 2], [1, 1]]],
    "input_tokens": ["a", "b"],
    "target": "c",
    "results": {
        "A": {
            "output_tokens": ["c", "d"],
            "seq_attr": [1, 2.5],
            "token_attr": [[1, 2], [0, 0.5]],
            "output_probs": [0.5, 1],
            "terms": {name: [[1, 2], [3, 4]] for name in ("semantic_flow", "curvature", "information")},
        },
        "B": {"output_tokens": ["c"], "seq_attr": [1, 2], "token_attr": None, "output_probs": None, "terms": None},
    },
    "failures": {"C": {"kind": "ValueError", "message": "no"}},
    "seconds": {"A": 1, "B": 0.5, "C": 0},
}
DELETED = object()
OF_A = ("results", "A")


def changed(path, value):
    found = copy.deepcopy(SAVED)
    place = found
    for part in path[:-1]:
        place = place[part]
    if value is DELETED:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return found


def refused(file):
    with pytest.raises(ValueError, match="is no comparison saved by captum_heta: ") as caught:
        Comparison.load(file)
    message = str(caught.value)
    assert message.startswith(str(file))
    return message.removeprefix(f"{file} is no comparison saved by captum_heta: ")


def test_what_was_saved_can_be_used(tmp_path):
    file = tmp_path / "a.json"
    file.write_text(json.dumps(SAVED))
    found = Comparison.load(file)
    assert found.places == [[(0, 1)], [(1, 2), (1, 1)]]
    assert found.results["A"].token_attr.tolist() == [[1, 2], [0, 0.5]]
    assert found.results["A"].terms.information.dtype == torch.float32
    assert found.to_html()
    assert found.matrix().shape == (2, 2)
    found.save(tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text()) == SAVED


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        *(((name,), DELETED, f"it must have '{name}'") for name in SAVED),
        (("format",), True, "format must be 1, got True"),
        (("prompt",), 3, "prompt must be text, got 3"),
        (("target",), None, "target must be text, got None"),
        (("input_tokens",), "ab", "input_tokens must be a list of texts"),
        (("input_tokens",), ["a", 3], "input_tokens must be a list of texts"),
        (("input_tokens",), [], "input_tokens must be a list of texts, one at least"),
        (("places",), {}, "places must be a list for each of the 2 tokens"),
        (("places",), [[[0, 1]]], "places must be a list for each of the 2 tokens"),
        (("places", 0), 3, "places[0] must be a list of [start, end], got 3"),
        (("places", 1), [[0, 1, 2]], "places[1] must be [start, end] from 0 to 2, got [0, 1, 2]"),
        (("places", 1), [["0", "1"]], "places[1] must be [start, end] from 0 to 2"),
        (("places", 1), [[True, True]], "places[1] must be [start, end] from 0 to 2"),
        (("places", 1), [[0.0, 1.0]], "places[1] must be [start, end] from 0 to 2"),
        (("places", 1), [[-1, 1]], "places[1] must be [start, end] from 0 to 2, got [-1, 1]"),
        (("places", 1), [[2, 1]], "places[1] must be [start, end] from 0 to 2, got [2, 1]"),
        (("places", 1), [[0, 3]], "places[1] must be [start, end] from 0 to 2, got [0, 3]"),
        (("results",), [], "results must be an object, got []"),
        (OF_A, 3, "results of 'A' must be an object, got 3"),
        *(((*OF_A, name), DELETED, f"results of 'A' must have '{name}'") for name in SAVED["results"]["A"]),
        ((*OF_A, "output_tokens"), [], "output_tokens in results of 'A' must be a list of texts, one at least"),
        ((*OF_A, "output_tokens"), ["c"], "token_attr in results of 'A' must be a list of 1 lists"),
        ((*OF_A, "output_tokens", 0), 7, "output_tokens in results of 'A' must be a list of texts"),
        ((*OF_A, "seq_attr"), None, "seq_attr in results of 'A' must be a list of 2 numbers, got None"),
        ((*OF_A, "seq_attr"), [1], "seq_attr in results of 'A' must be a list of 2 numbers, got [1]"),
        ((*OF_A, "seq_attr"), [1, "2"], "seq_attr in results of 'A' must be numbers that float32 has, got '2'"),
        ((*OF_A, "seq_attr"), [1, True], "seq_attr in results of 'A' must be numbers that float32 has, got True"),
        ((*OF_A, "seq_attr"), [1, 1e39], "seq_attr in results of 'A' must be numbers that float32 has"),
        ((*OF_A, "seq_attr"), [1, 10**400], "seq_attr in results of 'A' must be numbers that float32 has"),
        ((*OF_A, "token_attr"), [[1, 2], [3]], "token_attr in results of 'A' must be a list of 2 numbers, got [3]"),
        ((*OF_A, "token_attr"), [[[1, 2]], [[3, 4]]], "token_attr in results of 'A' must be a list of 2 numbers"),
        ((*OF_A, "output_probs"), [1], "output_probs in results of 'A' must be a list of 2 numbers"),
        ((*OF_A, "terms"), [], "terms in results of 'A' must be an object or null"),
        (
            (*OF_A, "terms", "curvature"),
            DELETED,
            "terms in results of 'A' must be an object with semantic_flow, curvature, information or",
        ),
        ((*OF_A, "terms", "curvature"), [[1]], "curvature in results of 'A' must be a list of 2 numbers, got [1]"),
        (("failures",), ["C"], "failures must be an object"),
        (("failures", "C"), "no", "failures of 'C' must be an object, got 'no'"),
        (("failures", "C"), {"kind": "E"}, "failures of 'C' must have 'message'"),
        (("failures", "C"), {"kind": "E", "message": 3}, "failures of 'C' must be a kind and a message"),
        (("failures", "A"), {"kind": "E", "message": ""}, "failures must be of other methods than results, got ['A']"),
        (("seconds",), 3, "seconds must be an object"),
        (("seconds", "A"), DELETED, "seconds must have 'A'"),
        (("seconds", "C"), None, "seconds of 'C' must be a number from 0 on, got None"),
        (("seconds", "C"), -1, "seconds of 'C' must be a number from 0 on, got -1"),
        (("contrast",), None, "contrast must be text, got None"),
        (("contrast",), 3, "contrast must be text, got 3"),
        ((*OF_A, "contrast"), ["d"], "contrast must be text, got ['d']"),
    ],
)
def test_what_could_not_be_used_is_refused(path, value, message, tmp_path):
    file = tmp_path / "a.json"
    file.write_text(json.dumps(changed(path, value)))
    assert message in refused(file)


def test_a_contrast_comes_back_with_the_results_that_have_it(tmp_path):
    saved = changed(("contrast",), " d")
    saved["results"]["A"]["contrast"] = " d"
    file, again = tmp_path / "a.json", tmp_path / "b.json"
    file.write_text(json.dumps(saved))
    found = Comparison.load(file)
    assert found.contrast == " d"
    assert found.results["A"].contrast == " d"
    assert not hasattr(found.results["B"], "contrast")
    page = found.to_html()
    assert page.count("explains the target alone") == 1
    assert "Why &#39;c&#39; (probability 0.5) and not &#39; d&#39;?" in page
    found.save(again)
    assert json.loads(again.read_text()) == saved


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Expecting value"),
        (json.dumps(SAVED).encode()[:-20], ""),
        (b"3", "it must be an object, got 3"),
        (b"null", "it must be an object, got None"),
        (b'["format"]', "it must be an object, got ['format']"),
        (b"\xff\xfe", "'utf-8' codec can't decode"),
        (json.dumps(SAVED).replace("2.5", "NaN").encode(), "it has NaN, which is no number of JSON"),
        (json.dumps(SAVED).replace("2.5", "-Infinity").encode(), "it has -Infinity, which is no number of JSON"),
        (json.dumps(SAVED).replace("2.5", "1e999").encode(), "must be numbers that float32 has, got inf"),
        (b"[" * 100_000, "its values are in one another too deeply"),
        (b'{"format":' * 100_000, "its values are in one another too deeply"),
        (b'{"format": ' + b"1" * 5000 + b"}", ""),
    ],
)
def test_other_files_are_refused(content, message, tmp_path):
    file = tmp_path / "a.json"
    file.write_bytes(content)
    assert message in refused(file)


def test_what_cannot_be_read_is_an_error_of_the_system(tmp_path):
    with pytest.raises(OSError, match="directory"):
        Comparison.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        Comparison.load(tmp_path / "no.json")


@pytest.mark.parametrize("field", ["seq_attr", "token_attr", "output_probs", "terms"])
def test_numbers_that_are_not_finite_are_not_written(field, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(SAVED))
    found = Comparison.load(tmp_path / "a.json")
    values = getattr(found.results["A"], field)
    # of a term NaN says that it was not looked at
    wrong = float("inf" if field == "terms" else "nan")
    (values.curvature if field == "terms" else values).flatten()[1:2].fill_(wrong)
    file = tmp_path / "b.json"
    file.write_text("of before")
    with pytest.raises(ValueError, match="'A' has numbers that are not finite, which JSON does not have"):
        found.save(file)
    assert file.read_text() == "of before"


def test_what_was_not_looked_at_comes_back(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(SAVED))
    found = Comparison.load(tmp_path / "a.json")
    found.results["A"].terms.information[0, 1] = float("nan")
    found.save(tmp_path / "b.json")
    entry = json.loads((tmp_path / "b.json").read_text())["results"]["A"]
    assert entry["terms"]["information"] == [[1, None], [3, 4]]
    information = Comparison.load(tmp_path / "b.json").results["A"].terms.information
    assert information.isnan().tolist() == [[False, True], [False, False]]


def test_half_a_character_comes_back(tmp_path, made):
    found = made(["a\udcff", " b"], {"A\ud83d": [1.0, 2.0]})
    found.save(tmp_path / "a.json")
    loaded = Comparison.load(tmp_path / "a.json")
    assert loaded.prompt == "a\udcff b"
    assert loaded.names == ["A\ud83d"]
