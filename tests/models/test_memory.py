import pytest
import torch

from captum_heta import HETA
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


@pytest.mark.parametrize("curvature", ["exact", "fisher"])
def test_rows_at_once_are_as_many_as_asked_for(model, curvature):
    ids = torch.arange(40)[None]
    most, scores = [], []
    for size in (2, None):
        rows = []
        hook = model.register_forward_pre_hook(
            lambda module, given, named, rows=rows: rows.append(len(named["inputs_embeds"])), with_kwargs=True
        )
        options = {"curvature": curvature, "n_samples": 2, "rank": 3, "perturbations_per_eval": size}
        scores.append(HETA(model).attribute(ids, target=3, **options))
        hook.remove()
        most.append(max(rows))
    torch.testing.assert_close(*scores)
    assert most[0] == 2 < most[1]
