"""What is distributed: metadata that fits the code, and a page for the package index without broken links."""

import ast
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import captum_heta

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = SETTINGS["project"]


def names(requirements):
    return {Requirement(one).name for one in requirements}


def imported():
    """The packages that modules import, wherever in them."""
    for file in Path(captum_heta.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.split(".")[0]
            elif isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)


def test_what_is_imported_is_declared():
    declared = names(PROJECT["dependencies"]).union(*map(names, PROJECT["optional-dependencies"].values()))
    brought = {"safetensors", "starlette", "tokenizers", "uvicorn"}  # of transformers and gradio, which pin them
    others = set(imported()) - set(sys.stdlib_module_names) - brought - {"captum_heta"}
    called = {"sklearn": "scikit-learn", "PIL": "pillow"}
    assert {called.get(name, name) for name in others} <= declared


def test_what_a_program_needs_has_a_lowest_version():
    extras = PROJECT["optional-dependencies"]
    for one in [*PROJECT["dependencies"], *extras["benchmark"], *extras["compare"], *extras["demo"], *extras["docs"]]:
        assert ">=" in str(Requirement(one).specifier), one


def test_changelog_has_the_version_first():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version, _ = re.findall(r"^## \[(.+)\] - (\d{4}-\d\d-\d\d)$", changelog, flags=re.MULTILINE)[0]
    assert version == captum_heta.__version__


def test_page_of_the_index_leads_to_no_file():
    hook = SETTINGS["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    readme = page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert hook["fragments"] == [{"path": "README.md"}]
    for change in hook["substitutions"]:
        page = re.sub(change["pattern"], change["replacement"], page)
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert links
    assert all(link.startswith("https://") for link in links)
    assert set(links) == set(re.findall(r"\]\((https:[^)]+)\)", readme))
    assert "a chosen one" not in page  # neither the picture nor what is said of it
    assert page.count("\n## ") == readme.count("\n## ")
    assert page.count("```") == readme.count("```")


@pytest.mark.parametrize(
    "file",
    [
        "py.typed",
        "benchmark/RESULTS.md",
        "demo/model/model.safetensors",
        "demo/gpt_neox/model.safetensors",
        "demo/chain/model.safetensors",
        "visualization/templates/explanation.css",
    ],
)
def test_files_that_are_no_modules_are_installed(file):
    assert (Path(captum_heta.__file__).parent / file).is_file()
