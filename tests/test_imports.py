"""The house: imports run one way, Captum's internals have one door, and importing is quiet."""

import ast
import importlib
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
    "peers",
    "metrics",
    "attr",
    "visualization",
    "stored",
    "provenance",
    "terms",
    "datasets",
    "inputs",
    "options",
    "prompts",
    "features",
    "models",
    "spans",
    "ranks",
    "tokenizers",
    "_lazy",
    "checks",
    "files",
    "signatures",
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
    # of a second model, of the one whose time is taken, and tokenizers for packages that read text
    loaders = ("replacers.py", "speed_prompt.py", "words.py", "texts.py")
    if part(path) not in ("models", "demo", "cli", "testing") and path.name not in loaders:
        assert not [module for module, _ in imported(path) if module.startswith("transformers")]


def module_of(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def at_module_level(body):
    """The imports that are carried out with the module, those for type checkers included."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for inner in ("body", "orelse", "finalbody", "handlers"):
                yield from at_module_level(getattr(node, inner, []))


def import_graph(sources):
    """Which modules each module imports: the package and, if it is a module, the name that is imported from it."""
    graph = {}
    for module, text in sources.items():
        named = set()
        for node in at_module_level(ast.parse(text).body):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [node.module, *(f"{node.module}.{name}" for name in names)]
            named.update(names)
        graph[module] = {name for name in named if name in sources and name != module}
    return graph


def circles(graph):
    """The strongly connected components of more than one module."""

    def reached(start):
        found, ahead = set(), [start]
        while ahead:
            for module in graph[ahead.pop()] - found:
                found.add(module)
                ahead.append(module)
        return found

    reach = {module: reached(module) for module in graph}
    return {frozenset(other for other in reach[module] if module in reach[other]) for module in graph} - {frozenset()}


def test_a_circle_of_imports_is_seen():
    sources = {
        "p": "from p.a import x",
        "p.a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.b import y",
        "p.b": "try:\n    from p import c\nexcept ImportError:\n    pass",
        "p.c": "class C:\n    import p.a",
        "p.d": "def f():\n    import p.e",
        "p.e": "import p.d, os",
    }
    # p.b names the package p too, which hands on p.a
    assert circles(import_graph(sources)) == {frozenset({"p", "p.a", "p.b", "p.c"})}
    sources["p.b"] = "import p.c"
    assert circles(import_graph(sources)) == {frozenset({"p.a", "p.b", "p.c"})}


def test_no_module_imports_one_that_imports_it():
    graph = import_graph({module_of(path): path.read_text() for path in ROOT.rglob("*.py")})
    assert sum(map(len, graph.values())) > len(graph)
    assert sorted(map(sorted, circles(graph))) == []


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


PACKAGES = sorted(path.parent for path in ROOT.rglob("__init__.py"))


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda path: str(path.relative_to(ROOT.parent)))
def test_a_module_is_not_hidden_behind_a_name_of_its_package(folder):
    """`import captum_heta.terms.curvature as c` gives a module, whatever its package has."""
    name = ".".join(folder.relative_to(ROOT.parent).parts)
    package = importlib.import_module(name)
    for path in folder.iterdir():
        if (path.suffix == ".py" or (path / "__init__.py").exists()) and not path.name.startswith("__"):
            module = importlib.import_module(f"{name}.{path.name.removesuffix('.py')}")
            assert getattr(package, path.name.removesuffix(".py")) is module


def test_lazy_packages_have_all_that_they_name():
    for package in ("captum_heta", "captum_heta.visualization"):
        module = importlib.import_module(package)
        for name in module.__all__:
            assert getattr(module, name) is not None
        with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
            module.nothing  # noqa: B018
