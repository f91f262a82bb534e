"""The notebooks of tutorials/ run from a clean kernel, and what is stored in them is what a reader should see."""

import gc
import re
import sys
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).parent.parent / "tutorials"
NOTEBOOKS = sorted(TUTORIALS.glob("*.ipynb"))
MOST_KB = 600

# A path of two parts or more that starts at the root or in a home folder; not the one of a URL or of a closing tag.
ABSOLUTE_PATH = re.compile(r"(?:(?<![\w.~:/<])|file://)/[\w.-]+/[\w.-]+|~/\w+|\b[A-Za-z]:\\\w+")

pytest.importorskip("nbclient", reason="notebooks are executed by nbclient")
pytest.importorskip("ipykernel", reason="notebooks run in ipykernel")

import nbformat  # noqa: E402, only where nbclient is
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager  # noqa: E402
from jupyter_client.manager import AsyncKernelManager  # noqa: E402
from nbclient import NotebookClient  # noqa: E402


class ThisInterpreter(KernelSpecManager):
    """Every kernel is the interpreter of the tests; an installed "python3" may be another one."""

    def get_kernel_spec(self, kernel_name):
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name=kernel_name, language="python")


def executed(notebook, folder):
    """A copy of the notebook with the outputs of a clean kernel that works in ``folder``."""
    copy = nbformat.from_dict(notebook)
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=ThisInterpreter())
    resources = {"metadata": {"path": str(folder)}}
    return NotebookClient(copy, km=manager, timeout=300, resources=resources).execute()


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell):
    """The kinds of what a cell prints or plots, without warnings, which differ between machines."""
    return {output.output_type for output in cell.outputs if output.get("name") != "stderr"}


def texts(notebook):
    """All that is stored as text in the outputs."""
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if output.output_type == "stream":
                yield output.text
            elif output.output_type == "error":
                yield "\n".join(output.traceback)
            else:
                yield from (str(data) for kind, data in output.data.items() if not kind.startswith("image/png"))


@pytest.fixture(autouse=True)
def _without_a_network(monkeypatch):
    """The notebook that loads a model of the hub has another way, which this chooses."""
    monkeypatch.setenv("CAPTUM_HETA_OFFLINE", "1")


@pytest.fixture
def _sockets_collected():
    """nbclient leaves sockets to the garbage collector, whose warnings another test would get."""
    yield
    gc.collect()


def test_there_are_notebooks():
    assert {
        "Faithfulness_Benchmark",
        "HETA_LLM_Attribution",
        "Inside_HETA",
        "Method_Comparison",
        "RAG_Sources",
        "Reasoning",
        "Two_Minutes",
    } == {file.stem for file in NOTEBOOKS}


@pytest.mark.usefixtures("_sockets_collected")
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebook_runs_from_a_clean_kernel(file, tmp_path):
    stored = nbformat.read(file, as_version=4)
    fresh = executed(stored, tmp_path)  # not in the repository: a notebook must not need its neighbours
    assert all("error" not in shown(cell) for cell in code_cells(fresh))
    assert any(shown(cell) for cell in code_cells(fresh))
    for before, after in zip(code_cells(stored), code_cells(fresh), strict=True):
        assert shown(before) == shown(after), f"run the notebook again, this cell stores other outputs: {after.source}"


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_stored_notebook_is_small_and_says_nothing_of_the_machine(file):
    assert file.stat().st_size < MOST_KB * 1000
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1)), "run all cells once, in order"
    assert all("execution" not in cell.metadata for cell in notebook.cells), "remove the times of execution"
    found = [path.group() for text in texts(notebook) for path in ABSOLUTE_PATH.finditer(text)]
    assert not found


@pytest.mark.usefixtures("_sockets_collected")
def test_kernel_is_the_running_interpreter(tmp_path):
    asks = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import sys; print(sys.executable)")])
    (cell,) = executed(asks, tmp_path).cells
    assert "".join(output.text for output in cell.outputs if output.get("name") == "stdout").strip() == sys.executable


@pytest.mark.parametrize(
    "text", ["in /home/me/a.py", "'/opt/lib'", "file:///etc/hosts", "~/models", r"C:\Users\me", "(/tmp/x.json)"]
)
def test_paths_of_a_machine_are_found(text):
    assert ABSOLUTE_PATH.search(text)


@pytest.mark.parametrize(
    "text", ["https://arxiv.org/abs/2604.13258", "<b>x</b></span>", "and/or/not", "1/2/3", "./a/b", "about ~ 3"]
)
def test_other_text_is_no_path(text):
    assert not ABSOLUTE_PATH.search(text)
