import pytest
import torch
from captum.attr import FeatureAblation, LayerIntegratedGradients

from captum_heta import HETA
from captum_heta.attr import NormXLogit
from captum_heta.metrics import gaussian_sensitivity, noisy_embeddings
from captum_heta.testing.architectures import tiny_model

IDS = torch.tensor([[5, 6, 7, 8, 6], [9, 4, 4, 11, 20]])
TARGET = 3


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama")


def log_prob(model):
    def forward(ids):
        return model(input_ids=ids).logits[:, -1].log_softmax(-1)[:, TARGET]

    return forward


def integrated_gradients(model):
    method = LayerIntegratedGradients(log_prob(model), model.get_input_embeddings())
    return lambda ids: method.attribute(ids, baselines=torch.zeros_like(ids), n_steps=8).sum(-1)


def feature_ablation(model):
    method = FeatureAblation(log_prob(model))
    return lambda ids: method.attribute(ids)


METHODS = {
    "HETA": lambda model: lambda ids: HETA(model).attribute(ids, target=TARGET, n_samples=2),
    "NormXLogit": lambda model: lambda ids: NormXLogit(model).attribute(ids, target=TARGET),
    "integrated gradients": integrated_gradients,
    "feature ablation": feature_ablation,
}


def embedding(model):
    return lambda ids: model.get_input_embeddings()(ids)[..., 0]


def test_by_hand(make_coin):
    """Attributions are the embeddings, of which the noise is as large a part as it was drawn."""
    coin = make_coin([1, 3, 1 / 3])
    ids = torch.tensor([[1, 2, 2]])
    scale = coin.get_input_embeddings()(ids).std(correction=0).item()
    length = coin.get_input_embeddings()(ids).norm().item()
    # tokens 2 are the same, and move together: |noise| has the mean of the length of two normal numbers
    draws = torch.randn(100_000, 2) * torch.tensor([1, 2]).sqrt()
    found = gaussian_sensitivity(embedding(coin), coin, ids, noise=0.5, n_draws=4000)
    assert found.item() == pytest.approx(0.5 * scale * draws.norm(dim=-1).mean().item() / length, rel=0.05)
    twice = gaussian_sensitivity(embedding(coin), coin, ids, noise=1.0, n_draws=4000)
    torch.testing.assert_close(twice, 2 * found, rtol=1e-5, atol=0)


def test_attributions_that_do_not_read_the_embeddings_are_stable(coin):
    assert gaussian_sensitivity(lambda ids: ids + 1.0, coin, torch.tensor([[1, 2]])).item() == 0


def test_undefined_where_all_attributions_are_zero(coin):
    assert gaussian_sensitivity(lambda ids: 0.0 * ids, coin, torch.tensor([[1, 2]])).isnan().all()


@pytest.mark.parametrize("name", METHODS)
def test_methods_meet_the_noise(model, name):
    explain = METHODS[name](model)
    before = explain(IDS[:1])
    assert gaussian_sensitivity(explain, model, IDS, noise=0, n_draws=2).tolist() == [0, 0]
    small, large = (gaussian_sensitivity(explain, model, IDS, noise=noise, n_draws=3) for noise in (1e-3, 0.1))
    assert (small > 0).all()
    assert (small < large / 10).all()
    assert large.isfinite().all()
    assert not model.get_input_embeddings()._forward_hooks
    torch.testing.assert_close(explain(IDS[:1]), before)


@pytest.mark.parametrize("name", ["HETA", "integrated gradients", "feature ablation"])
def test_the_embedded_model(demo, name):
    model, tokenizer = demo
    ids = torch.tensor([tokenizer.encode("Alice lives in Paris. Where does Alice live?")])
    assert 0 < gaussian_sensitivity(METHODS[name](model), model, ids, n_draws=2).item() < 1


def test_a_method_is_explained_as_on_noisy_weights():
    """A method meets under noise what it would with other weights."""
    model = tiny_model("gpt2")  # whose head shares them: it gets its own first
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    ids = torch.tensor([[5, 6, 7]])
    moved = torch.randn(3, 32)
    for name in METHODS:
        with noisy_embeddings(model, ids[0], moved):
            found = METHODS[name](model)(ids)
        weight = model.get_input_embeddings().weight
        before = weight.detach().clone()
        weight.data[ids[0]] += moved
        torch.testing.assert_close(found, METHODS[name](model)(ids), rtol=1e-4, atol=1e-5)
        weight.data.copy_(before)
        assert not torch.allclose(found, METHODS[name](model)(ids), rtol=1e-2)


def test_prompts_of_a_batch_are_as_alone(model):
    explain = METHODS["NormXLogit"](model)
    together = gaussian_sensitivity(explain, model, IDS, n_draws=2)
    alone = [gaussian_sensitivity(explain, model, row[None], n_draws=2) for row in IDS]
    torch.testing.assert_close(together, torch.cat(alone))


def test_seeds_and_draws(model):
    explain = METHODS["NormXLogit"](model)
    state = torch.get_rng_state()
    one, again = (gaussian_sensitivity(explain, model, IDS, seed=5) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one, again)
    assert not torch.allclose(gaussian_sensitivity(explain, model, IDS, seed=6), one)
    assert not torch.allclose(gaussian_sensitivity(explain, model, IDS, seed=5, n_draws=11), one)


def test_the_hook_is_removed_after_an_exception(coin):
    calls = []

    def explain(ids):
        calls.append(ids)
        if len(calls) == 2:
            raise KeyError("inside")
        return ids.float()

    with pytest.raises(KeyError, match="inside"):
        gaussian_sensitivity(explain, coin, torch.tensor([[1, 2]]))
    assert not coin.get_input_embeddings()._forward_hooks


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise": -0.1}, "noise .* must be >= 0, got -0.1"),
        ({"noise": float("nan")}, "noise .* got nan"),
        ({"n_draws": 0}, "n_draws must be at least 1, got 0"),
        ({"inputs": torch.tensor([1, 2])}, "inputs must be token ids"),
        ({"explain": lambda ids: ids[0]}, r"explain must return .* \(1, 2\), got \(2,\). Sum attributions"),
        ({"explain": lambda ids: (ids,)}, "explain must return .* got tuple"),
    ],
)
def test_errors(coin, changes, message):
    arguments = {"explain": embedding(coin), "inputs": torch.tensor([[1, 2]])} | changes
    with pytest.raises(ValueError, match=message):
        gaussian_sensitivity(model=coin, **arguments)
