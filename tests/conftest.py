import pytest
import torch

from captum_heta.demo import load_model


@pytest.fixture(scope="session")
def demo():
    """The embedded model and its tokenizer."""
    return load_model()


@pytest.fixture(autouse=True)
def _same_draws():
    torch.manual_seed(0)
