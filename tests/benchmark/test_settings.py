from dataclasses import replace

import numpy as np
import pytest

from captum_heta.benchmark import settings as module
from captum_heta.benchmark.settings import Settings, examples_in
from captum_heta.demo import examples
from captum_heta.provenance import versions

SETTINGS = Settings("model", "float32", ("dsa",), {"ig": {"n_steps": 3}}, 10, 0, None, False, False, versions())
ITEMS = list(examples(3))


def test_the_same_settings_join_again_with_more_examples(tmp_path):
    folder = tmp_path / "deep" / "er"
    SETTINGS.join(folder, {"a": ITEMS[:2]})
    SETTINGS.join(folder, {"a": ITEMS})
    SETTINGS.join(folder, {"b": ITEMS[:1]})
    SETTINGS.join(folder, {"a": ITEMS[1:2]})


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"model": "other"}, "model is 'model' there and 'other' here"),
        ({"dtype": "bfloat16"}, "dtype is"),
        ({"metrics": ("f1",)}, "metrics is"),
        ({"options": {}}, "options is"),
        ({"draws": 3}, "draws is 10 there and 3 here"),
        ({"seed": 1}, "seed is"),
        ({"max_tokens": 5}, "max_tokens is"),
        ({"bos": True}, "bos is"),
        ({"answered": True}, "answered is"),
        ({"versions": versions() | {"torch": "0"}}, "versions is"),
    ],
)
def test_other_settings_do_not_mix(tmp_path, changed, told):
    SETTINGS.join(tmp_path, {"a": ITEMS})
    before = (tmp_path / "settings.json").read_text()
    with pytest.raises(ValueError, match=f"has results of other settings: {told}"):
        replace(SETTINGS, **changed).join(tmp_path, {"a": ITEMS})
    assert (tmp_path / "settings.json").read_text() == before


def test_an_example_that_changed_does_not_mix(tmp_path):
    SETTINGS.join(tmp_path, {"a": ITEMS})
    with pytest.raises(ValueError, match=r"results of another example 'demo-0-1' in a\. Choose another folder"):
        SETTINGS.join(tmp_path, {"a": [ITEMS[0], replace(ITEMS[1], target=" else")]})


@pytest.mark.parametrize("folder", ["file", "file/folder"])
def test_a_folder_that_is_none_is_told(tmp_path, folder):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match=f"{folder} must be a folder that can be written to, for the results: .*file"):
        SETTINGS.join(tmp_path / folder, {"a": ITEMS})
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module.FileLock, "acquire", refuse)
    with pytest.raises(OSError, match="must be a folder that can be written to, for the results: .*Permission denied"):
        SETTINGS.join(tmp_path, {"a": ITEMS})


DAMAGED = [
    b"", b"{", b"\xff", b"[" * 100_000, b"null", b"[]", b"3", b"{}", b'{"model": "model"}', b'{"data": []}',
    b'{"data": {"a": 1}}', b'{"data": {"a": {"x": 1}}}',
]  # fmt: skip


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_settings_are_told_and_left_as_they_are(tmp_path, content):
    path = tmp_path / "settings.json"
    path.write_bytes(content)
    for ask in (lambda: SETTINGS.join(tmp_path, {"a": ITEMS}), lambda: examples_in(tmp_path)):
        with pytest.raises(ValueError, match="settings.json is damaged: it .*put it back, or choose another folder"):
            ask()
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", ["lines-0.jsonl", "lines-12.jsonl", "results.jsonl", "report.md", "report.csv"])
def test_results_without_settings_are_not_adopted(tmp_path, name):
    (tmp_path / name).write_text("mine")
    told = f"has {name} but no settings.json, which says what .* Put it back, or choose another folder"
    with pytest.raises(ValueError, match=told):
        SETTINGS.join(tmp_path, {"a": ITEMS})
    assert not (tmp_path / "settings.json").exists()
    assert (tmp_path / name).read_text() == "mine"


def test_other_files_do_no_harm(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    SETTINGS.join(tmp_path, {"a": ITEMS})


def test_examples_with_half_a_character_join(tmp_path):
    item = replace(ITEMS[0], id="\ud800", prompt="a \udc00")
    for _ in range(2):
        SETTINGS.join(tmp_path, {"a": [item]})
    assert list(examples_in(tmp_path)["a"]) == ["\ud800"]
    assert (tmp_path / "settings.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"draws": 0}, "draws must be at least 1, got 0"),
        ({"draws": 1.5}, "draws must be a whole number, got 1.5"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"max_tokens": 0}, "max_tokens must be at least 1, got 0"),
    ],
)
def test_numbers_that_are_none_are_refused(changed, told):
    with pytest.raises(ValueError, match=told):
        replace(SETTINGS, **changed)


def test_numbers_of_other_types_are_written(tmp_path):
    replace(SETTINGS, draws=np.int64(10), seed=np.int64(0)).join(tmp_path, {"a": ITEMS})
    SETTINGS.join(tmp_path, {"a": ITEMS})


def test_versions_are_of_what_the_numbers_depend_on():
    assert set(versions()) == {"captum_heta", "captum", "numpy", "torch", "transformers"}
    assert all(value[0].isdigit() for value in versions().values())
