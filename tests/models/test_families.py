import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from captum_heta.models.families import attention_candidates, decoder_layers, head_weights
from captum_heta.models.layers import AttentionLayer
from captum_heta.testing.architectures import CONFIGS, tiny_model
from captum_heta.testing.every_model import every_model


@pytest.mark.parametrize("name", CONFIGS)
def test_every_layer_has_one_attention_module(name):
    found = attention_candidates(tiny_model(name))
    assert list(found) == [0, 1]
    assert all("Attention" in type(attention).__name__ for ((attention, _),) in found.values())


@pytest.mark.parametrize("name", CONFIGS)
def test_the_layers_are_those_that_hold_the_attention(name):
    model = tiny_model(name)
    layers = decoder_layers(model, 2)
    attention = attention_candidates(model)
    assert all(attention[i][0][0] in list(layer.modules()) for i, layer in enumerate(layers))
    assert decoder_layers(model, 3) is None


def test_layers_of_pictures_are_not_those_of_text():
    model = tiny_model("llama")
    both = nn.ModuleDict({"pictures": nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)]), "text": model})
    assert decoder_layers(both, 2) is model.model.layers


def test_layers_of_a_part_that_reads_pictures_are_not_those_of_text():
    # as many and first, in the decoder itself, and of a part with a configuration of its own
    model = every_model("vision", "git")
    assert len(model.git.image_encoder.vision_model.encoder.layers) == 2
    assert decoder_layers(model, 2) is model.git.encoder.layer


def test_without_attention_the_outermost_list_has_the_layers():
    inner = [nn.ModuleDict({"experts": nn.ModuleList([nn.Linear(2, 2)] * 2)}) for _ in range(2)]
    model = nn.ModuleDict({"layers": nn.ModuleList(inner)})
    assert decoder_layers(model, 2) is model["layers"]


@pytest.mark.parametrize("projection", [nn.Linear(12, 5), Conv1D(5, 12)])
def test_heads_add_up_to_the_projection(projection):
    z = torch.randn(7, 12)
    mixers = head_weights(projection, 4, like=z)
    assert mixers.shape == (3, 4, 5)
    mixed = torch.einsum("nhk,hkd->nd", z.unflatten(1, (3, 4)), mixers) + projection.bias
    torch.testing.assert_close(mixed, projection(z))


class Packed(nn.Module):
    """As quantized layers do: no weight to read."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.in_features = inner, inner.in_features

    def forward(self, z):
        return self.inner(z)


def test_projection_without_a_weight_is_asked():
    inner, z = nn.Linear(12, 5), torch.randn(7, 12)
    asked = head_weights(Packed(inner), 4, like=z)
    torch.testing.assert_close(asked, head_weights(inner, 4, like=z))


def test_adapters_count():
    class Adapted(nn.Linear):  # `weight` is the base's alone
        def forward(self, z):
            return super().forward(z) + z @ torch.ones(12, 5)

    projection, z = Adapted(12, 5), torch.randn(7, 12)
    mixers = head_weights(projection, 4, like=z)
    mixed = torch.einsum("nhk,hkd->nd", z.unflatten(1, (3, 4)), mixers) + projection.bias
    torch.testing.assert_close(mixed, projection(z))


def test_projection_that_says_nothing_is_refused():
    with pytest.raises(TypeError, match="Sequential has no in_features.*without quantization and merge its adapters"):
        head_weights(nn.Sequential(nn.Linear(4, 4)), 2, like=torch.zeros(1))


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="takes 12 inputs, which heads of size 5 do not divide"):
        head_weights(nn.Linear(12, 4), 5, like=torch.zeros(1))


def test_values_that_do_not_fit_are_refused():
    layer = AttentionLayer(lambda: iter([]), torch.zeros(2, 2, 4), nn.Linear(12, 3))
    with pytest.raises(ValueError, match="3 heads of the output projection cannot share 2 heads of values"):
        layer.value_norms()
