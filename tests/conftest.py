import os

# tiny models are as fast on one thread, and several workers share the processor; set before torch reads it
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings

from captum_heta.demo import load_model
from captum_heta.testing.every_model import KINDS, NotBuiltError, every_model

# the same examples in every run, and no test that fails on a slow machine
settings.register_profile("captum_heta", deadline=None, derandomize=True)
settings.load_profile("captum_heta")


def pytest_collection_modifyitems(items):
    """Notebooks first: they take a minute each, and at the end the other workers would wait for the last of them."""
    items.sort(key=lambda item: item.path.name != "test_tutorials.py")


@pytest.fixture(scope="session")
def demo():
    """The embedded model and its tokenizer."""
    return load_model()


@pytest.fixture(scope="session")
def built():
    """Makes a tiny model of a kind and type, or skips the test where the transformers that is installed has none."""

    def build(kind, model_type):
        if model_type not in KINDS[kind]:
            pytest.skip(f"no {model_type} in the transformers that is installed")
        try:
            return every_model(kind, model_type)
        except NotBuiltError as reason:
            pytest.skip(str(reason))

    return build


@pytest.fixture(autouse=True)
def _same_draws():
    torch.manual_seed(0)
