import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from captum_heta.models.families import attention_modules, head_weights
from captum_heta.models.trace import AttentionLayer
from captum_heta.testing.architectures import CONFIGS, tiny_model


@pytest.mark.parametrize("name", CONFIGS)
def test_every_layer_has_one_attention_module(name):
    found = attention_modules(tiny_model(name))
    assert list(found) == [0, 1]
    assert all("Attention" in type(attention).__name__ for attention, _ in found.values())


@pytest.mark.parametrize("projection", [nn.Linear(12, 5), Conv1D(5, 12)])
def test_heads_add_up_to_the_projection(projection):
    z = torch.randn(7, 12)
    mixers = head_weights(projection, size=4)
    assert mixers.shape == (3, 4, 5)
    mixed = torch.einsum("nhk,hkd->nd", z.unflatten(1, (3, 4)), mixers) + projection.bias
    torch.testing.assert_close(mixed, projection(z))


def test_quantized_projection_is_refused():
    projection = nn.Linear(4, 4)
    projection.weight = nn.Parameter(torch.zeros(4, 4, dtype=torch.int8), requires_grad=False)
    with pytest.raises(TypeError, match="Linear has no two-dimensional floating-point weight.*without quantization"):
        head_weights(projection, size=2)


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="takes 12 inputs, which heads of size 5 do not divide"):
        head_weights(nn.Linear(12, 4), size=5)


def test_values_that_do_not_fit_are_refused():
    layer = AttentionLayer(lambda: iter([]), torch.zeros(2, 2, 4), nn.Linear(12, 3))
    with pytest.raises(ValueError, match="3 heads of the output projection cannot share 2 heads of values"):
        layer.value_norms()
