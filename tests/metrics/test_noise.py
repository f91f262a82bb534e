import pytest
import torch

from captum_heta.metrics import noisy_embeddings


def test_each_id_has_the_noise_of_its_first_occurrence(coin):
    ids, noise = torch.tensor([2, 1, 2]), torch.tensor([[0.5], [0.25], [9.0]], dtype=torch.float64)
    embeddings = coin.get_input_embeddings()
    weights = embeddings.weight.detach().clone()
    clean = embeddings(torch.arange(4)).detach()
    with noisy_embeddings(coin, ids, noise):
        expected = clean + torch.tensor([[0], [0.25], [0.5], [0]], dtype=torch.float64)
        torch.testing.assert_close(embeddings(torch.arange(4)), expected)
        several = torch.tensor([[2, 2], [0, 1]])
        torch.testing.assert_close(embeddings(several), expected[several])
        assert torch.equal(embeddings.weight, weights)
    torch.testing.assert_close(embeddings(torch.arange(4)), clean)


def test_noise_ends_with_an_exception(coin):
    def fails():
        with noisy_embeddings(coin, torch.tensor([1]), torch.ones(1, 1)):
            raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        fails()
    assert not coin.get_input_embeddings()._forward_hooks


def test_a_tied_head_and_the_padding_token(demo):
    model, tokenizer = demo
    embeddings = model.get_input_embeddings()
    assert model.get_output_embeddings().weight is embeddings.weight
    ids = torch.tensor([tokenizer.bos_token_id, embeddings.padding_idx, 40, 41])
    noise = torch.randn(4, 128)
    with torch.no_grad(), noisy_embeddings(model, ids, noise):
        found = model(input_ids=ids[None]).logits
        given = embeddings(ids)
    with torch.no_grad():
        torch.testing.assert_close(given, embeddings(ids) + noise)
        torch.testing.assert_close(found, model(inputs_embeds=given[None]).logits)
