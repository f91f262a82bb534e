import pytest

from captum_heta.models import CausalLM
from captum_heta.testing.architectures import tiny_model


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama")


def test_longer_rows_and_products_leave_room_for_fewer(model):
    lm = CausalLM(model)
    sizes = [
        lm.batch_size(64, keep=1),
        lm.batch_size(512, keep=1),
        lm.batch_size(512, keep=1, products=True),
        lm.batch_size(10**6, keep=1),
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)
    assert sizes[-1] == 1
