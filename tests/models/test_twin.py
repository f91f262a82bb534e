import torch

from captum_heta.models.twin import twin
from captum_heta.testing.architectures import tiny_model

IDS = torch.tensor([[3, 4, 5]])


def test_a_twin_predicts_the_same_from_the_same_memory():
    model = tiny_model("gpt2")  # whose head has the weights of its embeddings
    other = twin(model)
    assert torch.equal(other(IDS).logits, model(IDS).logits)
    for (name, one), (same, weight) in zip(other.named_parameters(), model.named_parameters(), strict=True):
        assert name == same
        assert one is not weight
        assert one.data_ptr() == weight.data_ptr()
        assert not one.requires_grad
    assert other.lm_head.weight is other.transformer.wte.weight
    assert other.config is not model.config
    assert other.transformer.config is other.config


def test_what_is_done_to_a_twin_is_not_done_to_the_model():
    model = tiny_model("llama").train()
    model(IDS).logits.sum().backward()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    weights = list(model.parameters())
    gradients = [weight.grad for weight in weights]
    handle = model.model.layers[0].register_forward_hook(lambda *_: None)
    other = twin(model)
    assert len(other.model.layers[0]._forward_hooks) == 1
    other.eval()
    other.zero_grad()
    other.resize_token_embeddings(model.config.vocab_size + 3)
    other.double()
    other.config.pad_token_id = other.generation_config.pad_token_id = 7
    other.set_attn_implementation("eager")
    other.register_forward_hook(lambda *_: None)
    other.model.layers[0]._forward_hooks.clear()
    other.lm_head.forward = None
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(
        weight.grad is gradient is not None for weight, gradient in zip(model.parameters(), gradients, strict=True)
    )
    assert all(weight.requires_grad for weight in model.parameters())
    assert model.config.vocab_size == len(model.get_input_embeddings().weight) == 97
    assert model.config.pad_token_id is model.generation_config.pad_token_id is None
    assert model.config._attn_implementation == "sdpa"
    assert not model._forward_hooks
    assert len(model.model.layers[0]._forward_hooks) == 1
    handle.remove()


def test_weights_of_a_type_of_their_own_are_copied():
    class Own(torch.nn.Parameter):
        pass

    model = tiny_model("llama")
    model.lm_head.weight = Own(model.lm_head.weight.detach().clone())
    other = twin(model)
    assert other.lm_head.weight.data_ptr() != model.lm_head.weight.data_ptr()
    assert torch.equal(other(IDS).logits, model(IDS).logits)
