"""The examples of docstrings run. Those that need a model have the embedded one."""

import copy
import doctest
import importlib
from pathlib import Path

import matplotlib as mpl
import pytest
import torch
from matplotlib import pyplot as plt

import captum_heta

ROOT = Path(captum_heta.__file__).parent
FILES = [path for path in sorted(ROOT.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]
CHAT = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"


@pytest.fixture(scope="module")
def names(demo):
    """What an example may use without making it."""
    model, tokenizer = demo[0], copy.deepcopy(demo[1])
    tokenizer.chat_template = CHAT
    public = {name: getattr(captum_heta, name) for name in captum_heta.__all__}
    ids = torch.tensor([tokenizer.encode("Anna lives in Rome. Anna lives in")])
    return public | {"model": model, "tokenizer": tokenizer, "input_ids": ids}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_examples_of_docstrings_run(file, names):
    mpl.use("Agg")
    module = importlib.import_module(".".join(file.relative_to(ROOT.parent).with_suffix("").parts))
    tests = doctest.DocTestFinder(exclude_empty=True).find(module, extraglobs=names)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    said = []
    for test in tests:
        runner.run(test, out=said.append)
    plt.close("all")
    assert runner.tries
    assert not runner.failures, "".join(said)
