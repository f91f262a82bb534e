"""What the README, the pages and the tutorials show runs, and prints what they say it does."""

import re
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt

from captum_heta.cli import app
from captum_heta.demo import load_model
from captum_heta.methods import METHODS, PEERS
from captum_heta.testing.architectures import CONFIGS
from captum_heta.testing.pictures import llava, photograph

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "tutorials" / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {file.name: file.read_text(encoding="utf-8") for file in sorted(DOCS.glob("*.md"))}
TEXTS = {"README.md": README, "CONTRIBUTING.md": (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")} | PAGES


def with_a_picture():
    """What a page has of a reader who has a model with its processor."""
    model, processor = llava(load_model()[1])
    return {"model": model, "processor": processor, "photo": photograph(), "token_id": 40}


PREPARED = {"models.md": with_a_picture}


def python_of(text):
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    mpl.use("Agg")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    plt.close("all")


@pytest.mark.filterwarnings("ignore:.*non-interactive.*:UserWarning")
def test_python_of_the_readme_runs(folder):
    blocks = python_of(README)
    assert len(blocks) == 3
    names = {}
    for block in blocks:  # each goes on from the one before
        exec(block, names)
    assert names["scores"].shape == names["ids"].shape
    answer = names["tokenizer"].decode(names["ids"][0, names["scores"][0].argmax()])
    assert answer.strip() == "Oslo"
    assert not names["found"].failures


@pytest.mark.filterwarnings("ignore:.*non-interactive.*:UserWarning")
@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if python_of(text)])
def test_python_of_a_page_runs(page, folder):
    names = PREPARED.get(page, dict)()
    for block in python_of(PAGES[page]):
        exec(block, names)


def test_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_table_of_methods_has_all_that_the_command_knows():
    text = PAGES["methods.md"]
    tables = text[text.index("| name | method |") : text.index("Those of Inseq")]
    assert set(METHODS) == set(re.findall(r"`([a-z_]+)`", tables)) - {"alternatives"}


def test_table_of_other_packages_has_all_names():
    text = PAGES["peers.md"]
    table = text[text.index("| name | what it is |") : text.index("What is common to all")]
    rows = [line.split("|")[1] for line in table.splitlines()[2:] if line.startswith("|")]
    assert set(PEERS) == set(re.findall(r"`([a-z_]+)`", "".join(rows)))


def test_reference_has_all_methods():
    pages = ("attribution.md", "methods.md", "peers.md")
    text = "".join((DOCS / "api" / page).read_text(encoding="utf-8") for page in pages)
    here = [method.name for method in (METHODS | PEERS).values() if method.module.startswith("captum_heta")]
    assert set(here) <= set(re.findall(r"autoclass:: (?:captum_heta\.)?(\w+)", text))


def test_table_of_models_is_the_tested_ones():
    text = PAGES["models.md"]
    table = text[text.index("| architecture |") : text.index("Others are not taken on trust")]
    assert set(re.findall(r"`([a-z0-9_]+)`", table)) - {"model_type"} == set(CONFIGS)


def test_rows_of_the_readme_are_those_of_the_page():
    table = README[README.index("| AP / top-1 |") :].split("\n\n")[0]
    assert len(table.splitlines()) == 10
    assert table in PAGES["evidence.md"]


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name):
    folder = DOCS if name in PAGES else ROOT
    for link in re.findall(r"\]\(((?!http)[^)]+)\)", TEXTS[name]):
        copied = link.replace("notebooks/", "../")  # as conf.py has them
        assert (folder / link).exists() or (folder / copied).exists(), link


def test_every_page_is_in_the_contents():
    contents = re.findall(r"```{toctree}\n(.*?)```", PAGES["index.md"], flags=re.DOTALL)
    listed = {line for part in contents for line in part.splitlines() if re.fullmatch(r"[\w/]+", line)}
    assert listed == {name.removesuffix(".md") for name in PAGES if name != "index.md"} | {"api/index"}


def test_pages_name_all_notebooks():
    notebooks = {file.stem for file in DOCS.parent.glob("*.ipynb")}
    assert set(re.findall(r"<notebooks/(\w+)>", PAGES["notebooks.md"])) == notebooks
    assert set(re.findall(r"\(tutorials/(\w+)\.ipynb\)", README)) == notebooks


@pytest.mark.parametrize("name", TEXTS)
def test_commands_exist(name):
    for module in re.findall(r"python -m (captum_heta[\w.]+)", TEXTS[name]):
        assert (ROOT / (module.replace(".", "/") + ".py")).exists(), module
    known = {command.callback.__name__ for command in app.registered_commands}
    for command in re.findall(r"captum-heta ([a-z]+) ", TEXTS[name]):
        assert command in known, command


def test_card_names_the_tokenizer_and_the_size():
    model, tokenizer = load_model()
    card = (ROOT / "captum_heta" / "demo" / "model" / "README.md").read_text(encoding="utf-8")
    assert f"{model.num_parameters():,} parameters" in card
    assert f"{len(tokenizer)} tokens of byte-level BPE" in card
