"""What the README and the tutorials show runs, and prints what the README says it does."""

import re
import runpy
import sys
from pathlib import Path

import matplotlib as mpl
import pytest

from captum_heta.demo import load_model
from captum_heta.methods import METHODS
from captum_heta.testing.architectures import CONFIGS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore:.*non-interactive.*:UserWarning")
def test_python_of_the_readme_runs(tmp_path, monkeypatch):
    mpl.use("Agg")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) == 5
    names = {}
    for block in blocks:  # each goes on from the one before
        exec(block, names)
    assert names["scores"].shape == names["ids"].shape
    answer = names["tokenizer"].decode(names["ids"][0, names["scores"][0].argmax()])
    assert answer.strip() == "Oslo"
    assert not names["found"].failures
    by_document = names["inp"].by_document(names["result"].seq_attr)
    assert by_document["register"] > by_document["menu"]
    assert (tmp_path / "found.json").exists()


def test_table_of_methods_has_all_that_the_command_knows():
    table = README[README.index("| name | method |") : README.index("Any function of prompt and target")]
    assert set(METHODS) <= set(re.findall(r"`([a-z_]+)`", table))


def test_table_of_models_is_the_tested_ones():
    table = README[README.index("| architecture |") : README.index("Others are not taken on trust")]
    assert set(re.findall(r"`([a-z0-9_]+)`", table)) - {"model_type"} == set(CONFIGS)


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(((?!http)[^)]+)\)", README):
        assert (ROOT / link).exists(), link


def test_commands_of_the_readme_exist():
    for module in re.findall(r"python -m (captum_heta[\w.]+)", README + (ROOT / "CONTRIBUTING.md").read_text()):
        assert (ROOT / (module.replace(".", "/") + ".py")).exists()


def test_tutorial_makes_the_picture(tmp_path, monkeypatch, capsys):
    picture = tmp_path / "compare.svg"
    monkeypatch.setattr(sys, "argv", ["compare.py", str(picture)])
    runpy.run_path(str(ROOT / "tutorials" / "compare.py"))
    svg = picture.read_text(encoding="utf-8")
    assert "http" not in svg.replace("http://www.w3.org", "").replace("https://www.textualize.io", "")
    for name in ("HETA", "Feature", "Integrated", "Gradient"):
        assert name in svg
    assert capsys.readouterr().out.count("Question:") == 4


def test_card_names_the_tokenizer_and_the_size():
    model, tokenizer = load_model()
    card = (ROOT / "captum_heta" / "demo" / "model" / "README.md").read_text(encoding="utf-8")
    assert f"{model.num_parameters():,} parameters" in card
    assert f"{len(tokenizer)} tokens of byte-level BPE" in card
