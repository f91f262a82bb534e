import pytest
import torch
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from captum_heta import HETA
from captum_heta.testing.architectures import tiny_model

IDS = torch.tensor([[2, 3, 4]])


class Smooth(Function):
    """A kernel with a backward pass of its own, as quantized layers have."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return (x @ weight.T).tanh()

    @staticmethod
    def backward(ctx, change):
        x, weight = ctx.saved_tensors
        return (change * (1 - (x @ weight.T).tanh().square())) @ weight, None


class Once(Smooth):
    backward = staticmethod(once_differentiable(Smooth.backward))


class Detached(Smooth):
    """Its gradient looks constant."""

    @staticmethod
    def backward(ctx, change):
        with torch.no_grad():
            return Smooth.backward(ctx, change)


class Layer(nn.Module):
    def __init__(self, kernel, linear):
        super().__init__()
        self.kernel, self.weight, self.in_features = kernel, linear.weight, linear.in_features

    def forward(self, x):
        return self.kernel.apply(x, self.weight)


def quantized(kernel):
    model = tiny_model("llama")
    model.config.quantization_config = {"quant_method": "test"}
    for layer in model.model.layers:
        layer.mlp.down_proj = Layer(kernel, layer.mlp.down_proj)
        layer.mlp.up_proj = Layer(kernel, layer.mlp.up_proj)
    return model


def test_right_kernels_pass_and_are_tested_once(monkeypatch):
    heta = HETA(quantized(Smooth))
    assert (heta.attribute(IDS, target=3) > 0).all()
    monkeypatch.setattr("captum_heta.attr.sequences.check_second_derivatives", lambda lm: pytest.fail("again"))
    monkeypatch.setattr("captum_heta.attr.sequences.check_gradients", lambda lm: pytest.fail("again"))
    heta.attribute(IDS, target=3)


def test_kernels_without_a_second_derivative_are_refused():
    with pytest.raises(TypeError, match="second derivatives of LlamaForCausalLM are wrong"):
        HETA(quantized(Once)).attribute(IDS, target=3)


def test_an_error_of_the_kernel_is_explained():
    class Failing(Smooth):
        @staticmethod
        def backward(ctx, change):
            raise RuntimeError("no kernel for this")

    with pytest.raises(TypeError, match="cannot be differentiated: no kernel for this. .* without quantization"):
        HETA(quantized(Failing)).attribute(IDS, target=3)


def test_an_error_of_its_second_derivative_is_explained():
    class FailingBackward(Function):
        @staticmethod
        def forward(ctx, change):
            return change.clone()

        @staticmethod
        def backward(ctx, change):
            raise RuntimeError("no kernel for this")

    class Failing(Smooth):
        @staticmethod
        def backward(ctx, change):
            return FailingBackward.apply(Smooth.backward(ctx, change)[0]), None

    with pytest.raises(TypeError, match="cannot be differentiated twice: no kernel for this. .* without quantization"):
        HETA(quantized(Failing)).attribute(IDS, target=3)


@pytest.mark.parametrize("curvature", ["exact", "fisher"])
@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0, -1.0])
def test_kernels_with_a_wrong_gradient_are_refused_in_every_mode(factor, curvature):
    class Wrong(Smooth):
        @staticmethod
        def backward(ctx, change):
            return factor * Smooth.backward(ctx, change)[0], None

    with pytest.raises(TypeError, match="gradients of LlamaForCausalLM are wrong: .* of what it says"):
        HETA(quantized(Wrong)).attribute(IDS, target=3, curvature=curvature)


def test_kernels_with_a_wrong_one_are_refused():
    with pytest.raises(TypeError, match="second derivatives of LlamaForCausalLM are wrong: .* where 1 and 1 are right"):
        HETA(quantized(Detached)).attribute(IDS, target=3)


@pytest.mark.parametrize("kernel", [Once, Detached])
def test_fisher_needs_none(kernel):
    heta, same = (HETA(quantized(k)) for k in (kernel, Smooth))
    found = heta.attribute(IDS, target=3, curvature="fisher")
    torch.testing.assert_close(found, same.attribute(IDS, target=3, curvature="fisher"))


def test_model_comes_back_after_a_refusal():
    model = quantized(Once)
    with pytest.raises(TypeError):
        HETA(model).attribute(IDS, target=3)
    assert model.config._attn_implementation == "sdpa"
