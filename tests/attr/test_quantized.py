"""Quantized weights: either right numbers, or a refusal."""

import logging

import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from captum_heta import HETA
from captum_heta.testing.architectures import tiny_model

bitsandbytes = pytest.importorskip("bitsandbytes")

IDS = torch.randint(97, (1, 6), generator=torch.Generator().manual_seed(1))
FORMATS = {
    "4bit": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "8bit": {"load_in_8bit": True},
}
# 8-bit kernels round their inputs to 8 bits too, which the dequantized model does not
TOLERANCE = {"4bit": 1e-4, "8bit": 0.05}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("llama")
    tiny_model("llama", hidden_size=64, intermediate_size=128, head_dim=32, num_key_value_heads=2).save_pretrained(path)
    return path


@pytest.fixture(scope="module", params=["qwen3_next", "deepseek_v3"])
def other_folder(request, tmp_path_factory, built):
    """Of a model whose layers carry tokens on by more than plain attention."""
    path = tmp_path_factory.mktemp(request.param)
    built("causal", request.param).save_pretrained(path)
    return path


def load(folder, name):
    config = BitsAndBytesConfig(**FORMATS[name])
    return AutoModelForCausalLM.from_pretrained(folder, quantization_config=config, device_map="cpu").eval()


def without_repacking(model):
    """On processors with AVX512-BF16, bitsandbytes swaps 4-bit layers for kernels that have no gradients."""
    for layer in model.modules():
        if isinstance(layer, bitsandbytes.nn.Linear4bit):
            layer.support_avx512bf16_for_cpu = False
    return model


@pytest.fixture(autouse=True)
def _quiet():
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("curvature", ["exact", "low_rank", "gauss_newton", "fisher"])
def test_scores_are_those_of_the_dequantized_model(folder, name, curvature):
    model = without_repacking(load(folder, name))
    layer = model.model.layers[0].mlp.up_proj
    assert layer.weight.dtype in (torch.uint8, torch.int8)  # the model is quantized
    scores = HETA(model).attribute(IDS, target=3, curvature=curvature)
    plain = load(folder, name).dequantize()
    assert type(plain.model.layers[0].mlp.up_proj) is torch.nn.Linear
    expected = HETA(plain).attribute(IDS, target=3, curvature=curvature)
    assert expected.max() > 0
    assert (scores - expected).abs().max() < TOLERANCE[name] * expected.max()


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_no_plain_attention_is_that_of_the_dequantized_model(other_folder, name):
    model, plain = without_repacking(load(other_folder, name)), load(other_folder, name).dequantize()
    assert any(parameter.dtype in (torch.uint8, torch.int8) for parameter in model.parameters())
    scores, expected = (HETA(one).attribute(IDS, target=3, curvature="fisher") for one in (model, plain))
    assert expected.max() > 0
    assert (scores - expected).abs().max() < TOLERANCE[name] * expected.max()


@pytest.mark.parametrize("curvature", ["exact", "fisher"])
def test_repacked_layers_are_refused(folder, curvature):
    model = load(folder, "4bit")
    if not model.model.layers[0].mlp.up_proj.support_avx512bf16_for_cpu:
        pytest.skip("this processor keeps the layers that have gradients")
    with torch.no_grad():  # which is when bitsandbytes swaps them
        model(IDS)
    with pytest.raises(TypeError, match="gradients of LlamaForCausalLM are wrong"):
        HETA(model).attribute(IDS, target=3, curvature=curvature)
