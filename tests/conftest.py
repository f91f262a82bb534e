import pytest
import torch
from hypothesis import settings

from captum_heta.demo import load_model

# the same examples in every run, and no test that fails on a slow machine
settings.register_profile("captum_heta", deadline=None, derandomize=True)
settings.load_profile("captum_heta")


@pytest.fixture(scope="session")
def demo():
    """The embedded model and its tokenizer."""
    return load_model()


@pytest.fixture(autouse=True)
def _same_draws():
    torch.manual_seed(0)
