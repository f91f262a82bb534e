from dataclasses import replace

import pytest

from captum_heta.benchmark.settings import Settings, versions
from captum_heta.demo import examples

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


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        SETTINGS.join(tmp_path / "file" / "folder", {"a": ITEMS})


def test_versions_are_of_what_the_numbers_depend_on():
    assert set(versions()) == {"captum_heta", "captum", "numpy", "torch", "transformers"}
    assert all(value[0].isdigit() for value in versions().values())
