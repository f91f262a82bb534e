"""The pictures of README and the pages are those that their saved comparisons give."""

import json
import re
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from captum_heta import Comparison, compare
from captum_heta.demo import examples, load_model
from captum_heta.methods import METHODS
from captum_heta.visualization import gallery
from captum_heta.visualization.colours import background
from captum_heta.visualization.gallery import draw, main, picture, read

ROOT = Path(__file__).parent.parent.parent
PICTURES = ROOT / gallery.FOLDER
SAVED = sorted(PICTURES.glob("*.json"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "tutorials" / "docs").glob("*.md"))]
SVG = "{http://www.w3.org/2000/svg}"
MOST_KB = 100


def structure(svg):
    """The texts of a picture, and the colours of its grounds, in order; where they stand is left out."""
    root = ElementTree.fromstring(svg)
    words = ["".join(text.itertext()).replace("\N{NO-BREAK SPACE}", " ") for text in root.iter(f"{SVG}text")]
    return [word for word in words if word.strip()], [mark.get("fill") for mark in root.iter(f"{SVG}rect")]


@pytest.fixture
def small(tmp_path):
    """A comparison of two methods on five tokens, saved in a folder of its own."""
    model, tokenizer = load_model()
    names = ["targeted", "gxa"]
    found = compare(names, tokenizer, "Ben lives in Oslo.", " Ben", contrast=" Anna", model=model)
    found.save(tmp_path / "small.json")
    return tmp_path / "small.json"


def test_there_are_pictures():
    assert {file.stem for file in SAVED} == {"embedded", "pretrained"}
    assert {file.stem for file in PICTURES.glob("*.svg")} == {file.stem for file in SAVED}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_show_no_other_picture(page):
    for shown in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / shown).resolve().parent == PICTURES, shown


def test_every_picture_is_shown():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert {file.stem for file in SAVED} == set(re.findall(r"!\[[^\]]*\]\([\w./]*pictures/(\w+)\.svg\)", text))


@pytest.mark.parametrize("file", SAVED, ids=lambda file: file.stem)
def test_a_picture_is_what_its_comparison_gives(file, tmp_path):
    shutil.copy(file, tmp_path)
    (drawn,) = draw(tmp_path)
    kept = file.with_suffix(".svg").read_text(encoding="utf-8")
    assert structure(drawn.read_text(encoding="utf-8")) == structure(kept)
    assert "http" not in re.sub(r"https?://www\.(?:w3\.org|textualize\.io)", "", kept)  # nothing is fetched


@pytest.mark.parametrize("file", SAVED, ids=lambda file: file.stem)
def test_saved_comparisons_are_small_and_name_no_folder(file):
    assert file.stat().st_size < MOST_KB * 1000
    found = Comparison.load(file)
    assert not found.failures
    assert found.names[:2] == ["Targeted HETA", "HETA"]
    assert not re.search(r"[\"' ]/\w", file.read_text(encoding="utf-8").replace(found.prompt, ""))


def test_embedded_one_is_what_the_methods_give():
    """The first example; the other needs a model that no test has."""
    saved = Comparison.load(PICTURES / "embedded.json")
    model, tokenizer = load_model()
    (item,) = examples(1)
    assert (saved.prompt, saved.target) == (item.prompt, item.target)
    short = {method.title: name for name, method in METHODS.items()}
    found = compare([short[name] for name in saved.names], tokenizer, item.prompt, item.target, model=model)
    torch.testing.assert_close(found.matrix(), saved.matrix(), atol=0.01, rtol=0)


def test_what_a_picture_shows(small):
    shown = read(small)
    assert shown.question.startswith("Why ' Ben' (probability ")
    assert shown.question.endswith(" and not ' Anna'?")
    saved = Comparison.load(small)
    assert (shown.prompt, shown.spans) == (saved.prompt, saved.spans)
    assert shown.rows == {name: row.tolist() for name, row in zip(saved.names, saved.matrix("none"), strict=True)}
    words, marks = structure(picture(shown, "small"))
    assert shown.question in words
    text = "".join(words)
    assert text.count("Ben lives in Oslo.") == len(shown.rows) == 2
    assert text.index("Targeted HETA") < text.index("Gradient x Activation")
    assert {background(1), background(-1)} & set(marks)  # the largest magnitude of a row has the full colour


def test_a_negative_score_is_red(small):
    shown = read(small)
    scores = [0.0] * len(shown.spans)
    scores[-2] = -1.0
    _, marks = structure(picture(shown._replace(rows={"signed": scores}), "small"))
    assert background(-1) in marks
    assert background(1) not in marks


def test_command(small, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gallery", str(small.parent)])
    main()
    drawn = small.with_suffix(".svg")
    assert capsys.readouterr().out.replace("\n", "") == str(drawn)
    first = drawn.read_text(encoding="utf-8")
    main()
    assert drawn.read_text(encoding="utf-8") == first  # to the last character


def test_command_draws_the_repositorys_without_a_folder(tmp_path, monkeypatch):
    folder = tmp_path / gallery.FOLDER
    folder.mkdir(parents=True)
    shutil.copy(PICTURES / "embedded.json", folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gallery"])
    main()
    assert (folder / "embedded.svg").is_file()


def without(record, name):
    return {key: value for key, value in record.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda saved: saved | {"format": 2}, "format must be 1, got 2"),
        (lambda saved: saved | {"results": {}}, "no method has a result in it"),
        (lambda saved: saved | {"results": {"HETA": []}}, "results of 'HETA' must be an object"),
        (lambda saved: without(saved, "places"), "it must have 'places'"),
        (lambda saved: saved | {"input_tokens": ["one"]}, "places must be a list for each of the 1 tokens"),
    ],
)
def test_what_is_no_comparison(change, message, small, monkeypatch, capsys):
    small.write_text(json.dumps(change(json.loads(small.read_text(encoding="utf-8")))), encoding="utf-8")
    with pytest.raises(ValueError, match=f"small.json is no comparison saved by captum_heta: {message}"):
        draw(small.parent)
    monkeypatch.setattr(sys, "argv", ["gallery", str(small.parent)])
    with pytest.raises(SystemExit):
        main()
    assert "is no comparison" in capsys.readouterr().err
    assert not small.with_suffix(".svg").exists()


def test_a_folder_without_any(tmp_path):
    with pytest.raises(ValueError, match="has no saved comparison: pass the folder of some"):
        draw(tmp_path)
