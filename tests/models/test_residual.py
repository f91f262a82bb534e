import pytest
import torch
from torch import nn

from captum_heta import HETA, TargetedHETA
from captum_heta.models import CausalLM, trace_of
from captum_heta.models.residual import Affine
from captum_heta.testing.architectures import CONFIGS, tiny_model

IDS = torch.tensor([[5, 6, 7, 8]])


def forms(model):
    lm = CausalLM(model)
    with lm.lock, lm.restored(), lm.ready():
        return lm.attention.residual_forms


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_form_of_each_architecture(name, dtype):
    norm = "post_attention_layernorm" if name in ("gemma2", "gemma3_text", "olmo2") else None
    found = forms(tiny_model(name).to(dtype))
    assert [(form.norm, form.kept, form.of_given) for form in found] == [(norm, 1.0, False)] * 2
    assert [form.scale for form in found] == [1.0] * 2


def test_a_factor_is_found():
    model = tiny_model("llama")
    for layer in model.model.layers:
        _scaled(layer.self_attn, 0.3)
    # the layer's own sum has the scaled output, the projection gives it without the factor
    for form in forms(model):
        assert form.norm is None
        assert form.kept == 1.0
        assert form.scale == pytest.approx(0.3, rel=1e-4)


def test_a_sum_that_is_none_is_refused():
    model = tiny_model("llama")
    layer = model.model.layers[1]
    inner = layer.self_attn.forward
    # what is added is no multiple of what attention gathers
    layer.self_attn.forward = lambda *given, **named: (lambda out: (out[0].tanh(), *out[1:]))(inner(*given, **named))
    with pytest.raises(TypeError, match=r"does not see how LlamaForCausalLM adds .* in layer\(s\) \[1\]"):
        TargetedHETA(model).attribute(IDS)
    with pytest.raises(TypeError, match="take flow='attention'"):
        HETA(model).attribute(IDS, flow="contribution")
    assert (HETA(model).attribute(IDS, n_samples=1) >= 0).all()  # the paper's flow does not need it


def test_nothing_of_the_stream_is_kept_where_it_was_not_asked_for():
    lm = CausalLM(tiny_model("llama"))
    with lm.lock, lm.restored(), lm.ready():
        assert trace_of(lm, lm.embed(IDS[0]), 1).layers[0].residual is None
        residual = trace_of(lm, lm.embed(IDS[0]), 1, residuals=True).layers[0].residual
    torch.testing.assert_close(residual.stream, lm.embed(IDS[0]))  # what enters the first layer


@pytest.mark.parametrize("norm", [nn.RMSNorm(8), nn.LayerNorm(8)])
def test_a_norm_is_a_linear_map_up_to_the_size_of_its_row(norm):
    torch.manual_seed(0)
    for parameter in norm.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    with torch.no_grad():
        rows = torch.randn(5, 8)
        affine = Affine.of(norm, rows)
        assert affine.centred == isinstance(norm, nn.LayerNorm)
        found = affine.sizes(rows, norm) * affine.linear(rows) + affine.shift
        torch.testing.assert_close(found, norm(rows), rtol=1e-4, atol=1e-5)


def _scaled(attention, factor):
    inner = attention.forward
    attention.forward = lambda *given, **named: (lambda out: (factor * out[0], *out[1:]))(inner(*given, **named))
