import re
import sys

import pytest

from captum_heta.datasets import (
    DATASETS,
    read_hotpotqa,
    read_longra,
    read_musique,
    read_tellmewhy,
    read_wikibio,
)
from captum_heta.datasets.source import read_records

OPTIONS = {"default_split": "train", "split": None, "download": False}


def test_folder_with_one_file_is_that_file(made, lines):
    file = lines(made["longra"]())
    (file.parent / "notes.md").write_text("not data")
    assert read_longra(file.parent) == read_longra(file) == read_longra(str(file))


def test_folder_without_exactly_one_file_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=f"{re.escape(str(tmp_path))} must have one file .* it has none: give the path"
    ):
        read_longra(tmp_path)
    for name in ("b.jsonl", "a.json"):
        (tmp_path / name).write_text("[]")
    with pytest.raises(ValueError, match="it has a.json, b.jsonl: give the path of a file"):
        read_longra(tmp_path)


def test_file_of_another_kind_is_refused(tmp_path):
    file = tmp_path / "data.csv"
    file.write_text("a,b")
    with pytest.raises(ValueError, match="data.csv must end in .json, .jsonl, got '.csv'"):
        read_longra(file)


@pytest.mark.parametrize("download", [False, True])
@pytest.mark.parametrize("missing", ["nowhere.jsonl", "data/nowhere.json", "nowhere", "/no/such/folder", "a/b/c"])
def test_missing_file_is_named(hub, missing, download):
    with pytest.raises(FileNotFoundError, match=f"There is no file or folder '{missing}'"):
        read_records(missing, **OPTIONS | {"download": download})
    assert hub.calls == []


@pytest.mark.parametrize("name", DATASETS)
def test_nothing_is_downloaded_unasked(hub, name):
    with pytest.raises(
        ValueError, match="'someone/data', and nothing is downloaded unasked.* pass download=True; else"
    ):
        DATASETS[name]("someone/data")
    assert hub.calls == []


@pytest.mark.parametrize(
    ("read", "name", "split", "asked"),
    [
        (read_tellmewhy, "tellmewhy", None, "test"),
        (read_tellmewhy, "tellmewhy", "validation", "validation"),
        (read_wikibio, "wikibio", None, "evaluation"),
        (read_longra, "longra", None, "train"),
        (read_musique, "musique", None, "validation"),
    ],
)
def test_hub_gives_the_same_as_a_file(hub, made, lines, read, name, split, asked):
    rows = [made[name](number) for number in range(3)]
    hub.sets["someone/data"] = rows
    assert read("someone/data", download=True, split=split) == read(lines(*rows))
    assert hub.calls == [("someone/data", asked)]


def test_one_of_several_data_sets_of_an_id_is_read(hub, made, lines):
    rows = [made["hotpotqa"](number) for number in range(3)]
    hub.sets["hotpotqa/hotpot_qa"] = rows
    assert read_hotpotqa(download=True) == read_hotpotqa(lines(*rows))
    assert hub.calls == [("hotpotqa/hotpot_qa", "distractor", "validation")]


def test_records_of_the_hub_are_named_in_errors(hub, made):
    hub.sets["someone/data"] = [made["longra"](), made["longra"](1, prompt=None)]
    told = "someone/data (train), record 2 (id 'longra-made-up-001'): the field 'prompt' must be a text, got None"
    with pytest.raises(ValueError, match=re.escape(told)):
        read_longra("someone/data", download=True)


def test_empty_split_is_told(hub):
    hub.sets["someone/data"] = []
    with pytest.raises(ValueError, match="someone/data .train. holds no records"):
        read_longra("someone/data", download=True)


def test_local_folder_goes_before_the_hub(hub, made, lines, monkeypatch):
    file = lines(made["longra"]())
    monkeypatch.chdir(file.parent.parent)
    assert read_longra(f"{file.parent.name}/{file.name}", download=True) == read_longra(file)
    assert hub.calls == []


def test_split_of_a_local_file_is_refused(made, lines):
    with pytest.raises(ValueError, match="split chooses a part of a data set on the hub: leave it out .* got 'test'"):
        read_longra(lines(made["longra"]()), split="test")


def test_library_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"library datasets: pip install 'captum-heta\[benchmark\]'"):
        read_longra("someone/data", download=True)


@pytest.mark.parametrize("name", ["hotpotqa", "musique"])
def test_parquet_is_the_same_as_json_lines(made, lines, tmp_path, name):
    pyarrow = pytest.importorskip("pyarrow", reason="the library pyarrow is not installed")
    from pyarrow import parquet

    rows = [made[name](number) for number in range(3)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "data.parquet")
    assert DATASETS[name](tmp_path) == DATASETS[name](lines(*rows))


def test_what_is_no_parquet_is_told(tmp_path, monkeypatch):
    file = tmp_path / "data.parquet"
    file.write_text("[]")
    with pytest.raises(ValueError, match="data.parquet must end in .json, .jsonl, got '.parquet'"):
        read_longra(file)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pyarrow", None)
        told = r"data.parquet needs the library pyarrow: pip install 'captum-heta\[benchmark\]'"
        with pytest.raises(ImportError, match=told):
            read_musique(file)
    pytest.importorskip("pyarrow", reason="the library pyarrow is not installed")
    with pytest.raises(ValueError, match="data.parquet is no Parquet: "):
        read_musique(file)


def test_library_itself_reads_a_local_folder_as_a_hub(made, lines):
    datasets = pytest.importorskip("datasets", reason="the library datasets is not installed")
    file = lines(*(made["tellmewhy"](0, annotator) for annotator in range(3)))
    loaded = datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=str(file.parent / "cache"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load_dataset", lambda name, config, split: loaded)
        assert read_tellmewhy("someone/data", download=True) == read_tellmewhy(file)
