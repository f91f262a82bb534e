"""Models whose weights accelerate moves about."""

import accelerate
import pytest
import torch

from captum_heta import HETA
from captum_heta.testing.architectures import tiny_model

IDS = torch.tensor([[2, 3, 4, 5, 6]])


def layers_of(model):
    return {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk", "model.norm": "cpu",
            "model.rotary_emb": "cpu", "lm_head": "cpu"}  # fmt: skip


@pytest.mark.parametrize("curvature", ["exact", "low_rank", "gauss_newton", "fisher"])
@pytest.mark.parametrize("way", ["cpu_offload", "disk"])
def test_scores_are_those_of_the_whole_model(curvature, way, tmp_path):
    # all eigenvectors: those of a head that is brought in for a call are others, of the same matrix
    options = {"curvature": curvature} | ({"rank": 1000, "coverage": 1.0} if curvature == "fisher" else {})
    expected = HETA(tiny_model("llama")).attribute(IDS, target=3, **options)
    model = tiny_model("llama")
    if way == "cpu_offload":
        model = accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
        assert model.model.embed_tokens.weight.is_meta
    else:
        model = accelerate.dispatch_model(
            model, layers_of(model), main_device="cpu", offload_dir=tmp_path, force_hooks=True
        )
        assert model.model.layers[1].self_attn.o_proj.weight.is_meta
    devices = {name: parameter.device for name, parameter in model.named_parameters()}
    torch.testing.assert_close(HETA(model).attribute(IDS, target=3, **options), expected)
    assert {name: parameter.device for name, parameter in model.named_parameters()} == devices
