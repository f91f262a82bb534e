import pytest
import torch

from captum_heta import HETA
from captum_heta.models import CausalLM
from captum_heta.testing.architectures import tiny_model


def take_grouped_experts(model):
    try:
        model.set_experts_implementation("grouped_mm")
    except ImportError as reason:  # transformers 5.0 with torch before 2.9
        pytest.skip(str(reason))


def snapshot(model):
    return {
        "attention": model.config._attn_implementation,
        "experts": model.config._experts_implementation,
        "training": [module.training for module in model.modules()],
        "requires_grad": [parameter.requires_grad for parameter in model.parameters()],
        "grad": [parameter.grad for parameter in model.parameters()],
        "hooks": [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()],
        "weights": [parameter.sum().item() for parameter in model.parameters()],
    }


def unusual(name, **changes):
    """A model with one part in training and one parameter frozen."""
    model = tiny_model(name, **changes)
    next(iter(model.children())).train()
    next(model.parameters()).requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ("name", "changes"),
    [("llama", {}), ("llama", {"attn_implementation": "eager"}), ("falcon", {}), ("bloom", {}), ("mixtral", {})],
)
def test_model_comes_back_as_it_was(name, changes):
    model = unusual(name, **changes)
    if name == "mixtral":
        take_grouped_experts(model)
    before = snapshot(model)
    HETA(model).attribute(torch.tensor([[2, 3, 4]]), n_samples=1)
    assert snapshot(model) == before


def test_model_comes_back_after_an_error(monkeypatch):
    model = unusual("llama")
    before = snapshot(model)
    heta = HETA(model)

    def fail(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("captum_heta.attr.sequence_terms.Curvature.of", fail)
    with pytest.raises(KeyboardInterrupt):
        heta.attribute(torch.tensor([[2, 3, 4]]))
    assert snapshot(model) == before


def test_inside_everything_is_ready():
    model = unusual("mixtral")
    take_grouped_experts(model)
    with CausalLM(model).ready():
        assert model.config._attn_implementation == "eager"
        assert model.config._experts_implementation == "eager"
        assert not any(module.training for module in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())


def test_falcon_still_needs_the_attribute_for_its_attention():
    # the one class of the supported ones that computes by SDPA and that the public setter refuses
    model = tiny_model("falcon")
    model.set_attn_implementation("eager")
    assert model.config._attn_implementation == "sdpa"


def test_dropout_does_not_matter():
    model = tiny_model("gpt2", attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5)
    ids = torch.tensor([[2, 3, 4, 5]])
    expected = HETA(model).attribute(ids, target=1)
    torch.testing.assert_close(HETA(model.train()).attribute(ids, target=1), expected)
    assert model.training


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_callers_grad_mode_does_not_matter(context):
    model = tiny_model("llama")
    expected = HETA(model).attribute(torch.tensor([[2, 3, 4]]), target=1)
    with context():
        found = HETA(model).attribute(torch.tensor([[2, 3, 4]]), target=1)
    torch.testing.assert_close(found, expected)
    assert not found.requires_grad


def test_default_experts_give_the_same_scores():
    model = tiny_model("mixtral")
    expected = HETA(model).attribute(torch.tensor([[2, 3, 4]]), target=1)
    take_grouped_experts(model)
    torch.testing.assert_close(HETA(model).attribute(torch.tensor([[2, 3, 4]]), target=1), expected)
