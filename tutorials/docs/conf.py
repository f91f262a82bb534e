"""The pages of documentation: ``python -m sphinx -W -b html tutorials/docs FOLDER``."""

import shutil
from pathlib import Path

from sphinx.pycode import ModuleAnalyzer

import captum_heta

_HERE = Path(__file__).parent

project = "captum_heta"
author = copyright = "captum_heta contributors"
release = captum_heta.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"captum_heta {release}"
html_copy_source = False
smartquotes = False  # "auto" is what one types

nb_execution_mode = "off"  # tests/test_tutorials.py runs the notebooks
myst_heading_anchors = 3

default_role = "py:obj"  # single backticks name objects
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_rtype = False


def _copy_notebooks() -> None:
    """Put the notebooks, which are one folder up, where Sphinx finds them."""
    folder = _HERE / "notebooks"
    folder.mkdir(exist_ok=True)
    for notebook in _HERE.parent.glob("*.ipynb"):
        copy = folder / notebook.name
        if not copy.exists() or copy.read_bytes() != notebook.read_bytes():
            shutil.copyfile(notebook, copy)


def _hide_overloads() -> None:
    """Show the signature of ``attribute`` that its options make; its overloads are for type checkers."""
    analyze = ModuleAnalyzer.analyze

    def without_overloads(analyzer: ModuleAnalyzer) -> None:
        analyze(analyzer)
        analyzer.overloads = {}

    ModuleAnalyzer.analyze = without_overloads  # type: ignore[method-assign]


_copy_notebooks()
_hide_overloads()
