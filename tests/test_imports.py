"""The house: imports run one way, Captum's internals have one door, and importing is quiet."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import captum_heta

ROOT = Path(captum_heta.__file__).parent
# from the top of the house to the bottom: a module imports what is below it, or beside it in its own part
ORDER = [
    "cli",
    "app",
    "benchmark",
    "demo",
    "comparison",
    "methods",
    "metrics",
    "attr",
    "visualization",
    "terminal",
    "terms",
    "datasets",
    "inputs",
    "options",
    "prompts",
    "features",
    "models",
    "shading",
    "spans",
    "checks",
    "files",
    "testing",
]
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield node.module or "", [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)


def part(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    here = part(path)
    for module, _ in imported(path):
        if module.startswith("captum_heta."):
            there = module.split(".")[1]
            assert here == "testing" or ORDER.index(there) >= ORDER.index(here), f"{path} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_captums_internals_are_imported_in_one_file(path):
    for module, names in imported(path):
        if module.split(".")[0] == "captum" and path != ROOT / "attr" / "_captum.py":
            assert not any(name.startswith("_") for name in [*module.split("."), *names]), (
                f"{path} imports {module} {names}"
            )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_models_demo_and_command_line_know_transformers(path):
    if part(path) not in ("models", "demo", "cli", "testing") and path.name != "replacers.py":  # loads a second model
        assert not [module for module, _ in imported(path) if module.startswith("transformers")]


def test_import_is_quiet_and_leaves_the_global_state_alone():
    script = (
        "import torch; before = torch.get_rng_state(), torch.is_grad_enabled(), torch.get_default_dtype();"
        "import captum_heta;"
        "after = torch.get_rng_state(), torch.is_grad_enabled(), torch.get_default_dtype();"
        "assert before[1:] == after[1:] and torch.equal(before[0], after[0])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error:::captum_heta", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    assert done.stderr == ""
