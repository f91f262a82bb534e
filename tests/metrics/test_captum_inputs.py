"""captum.metrics with attributions of token ids."""

import math

import pytest
import torch
from captum.attr import FeatureAblation
from captum.metrics import infidelity, infidelity_perturb_func_decorator, sensitivity_max

from captum_heta import HETA
from captum_heta.attr import NormXLogit
from captum_heta.metrics import explained_under_noise, gated_log_probs, noisy_embeddings
from captum_heta.testing.architectures import tiny_model

IDS = torch.tensor([[5, 6, 7, 8], [9, 4, 4, 11]])
TARGET = 3
METHODS = pytest.mark.parametrize(
    "method",
    [lambda model: HETA(model).attribute, lambda model: NormXLogit(model).attribute],
    ids=["HETA", "NormXLogit"],
)


@infidelity_perturb_func_decorator(multiply_by_inputs=False)
def mask_some(gates):
    return torch.bernoulli(0.7 * gates)


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama")


def test_gates_by_hand(coin):
    forward = gated_log_probs(coin)
    gates = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.5, 1.5]])
    probs = forward(gates, torch.tensor([[1, 2]]).expand(4, -1)).exp()[:, 1]
    torch.testing.assert_close(probs, torch.tensor([0.9, 0.75, 0.5, 0.9], dtype=torch.float64))
    coin.rows.clear()
    split = gated_log_probs(coin, perturbations_per_eval=3)(gates, torch.tensor([[1, 2]]).expand(4, -1))
    torch.testing.assert_close(split.exp()[:, 1], probs)
    assert coin.rows == [3, 1]
    # each row has its own prompt, in every batch
    odds = gated_log_probs(coin, perturbations_per_eval=1)(torch.ones(3, 1), torch.tensor([[0], [1], [3]]))
    torch.testing.assert_close(odds.exp()[:, 1], torch.tensor([1 / 2, 3 / 4, 1 / 10], dtype=torch.float64))


def test_infidelity_by_hand(make_coin):
    """Where log P falls by a sum over the masked tokens, these summands are without infidelity."""
    coin = make_coin([1, 1e-9, 1e-8, 1e-7])  # log P(token 1) is the log-odds, but for a billionth
    ids, gates = torch.tensor([[1, 2, 3]]), torch.ones(1, 3, dtype=torch.float64)
    exact = torch.tensor([[1e-9, 1e-8, 1e-7]], dtype=torch.float64).log()

    @infidelity_perturb_func_decorator(multiply_by_inputs=False)
    def mask_one(gates):
        keep = torch.ones_like(gates)
        keep[torch.arange(len(gates)), torch.arange(len(gates)) % 3] = 0
        return keep

    def of(scores, normalize=False):
        return infidelity(
            gated_log_probs(coin),
            mask_one,
            gates,
            scores,
            additional_forward_args=ids,
            target=1,
            n_perturb_samples=9,
            normalize=normalize,
        ).item()

    assert of(exact) == pytest.approx(0, abs=1e-9)
    assert of(exact + 2) == pytest.approx(4)
    assert of(5 * exact, normalize=True) == pytest.approx(0, abs=1e-9)
    assert of(exact.flip(1)) == pytest.approx(2 / 3 * math.log(100) ** 2)


@METHODS
def test_infidelity(model, method):
    scores = method(model)(IDS, target=TARGET)
    found = infidelity(
        gated_log_probs(model),
        mask_some,
        torch.ones(IDS.shape),
        scores,
        additional_forward_args=IDS,
        target=TARGET,
        n_perturb_samples=20,
        normalize=True,
    )
    assert found.shape == (2,)
    assert found.isfinite().all()
    assert (found > 0).all()


def test_ablation_has_less_infidelity_than_its_reverse(model):
    gates = torch.ones(IDS.shape)
    forward = gated_log_probs(model)
    scores = FeatureAblation(forward).attribute(gates, additional_forward_args=(IDS,), target=TARGET)

    def of(scores):
        torch.manual_seed(0)
        return infidelity(forward, mask_some, gates, scores, None, IDS, TARGET, n_perturb_samples=100)

    assert (of(scores) < of(scores.flip(1))).all()
    assert (of(scores) < of(-scores)).all()


@METHODS
def test_sensitivity_to_noise(model, method):
    explain = method(model)
    moved = explained_under_noise(lambda ids: explain(ids, target=TARGET), model, IDS[:1])
    quiet = torch.zeros(1, 4, 32)
    torch.testing.assert_close(moved(quiet), explain(IDS[:1], target=TARGET))
    torch.manual_seed(0)
    small = sensitivity_max(moved, quiet, perturb_radius=1e-4, n_perturb_samples=3)
    large = sensitivity_max(moved, quiet, perturb_radius=1e-2, n_perturb_samples=3)
    assert small.shape == (1,)
    assert 0 < small.item() < large.item() / 10
    assert not model.get_input_embeddings()._forward_hooks


def test_rows_of_noise_are_explained_one_by_one(model):
    explain = NormXLogit(model).attribute
    noise = torch.randn(3, 4, 32)
    found = explained_under_noise(explain, model, IDS[:1])((noise,))
    assert isinstance(found, tuple)
    for row, scores in zip(noise, found[0], strict=True):
        with noisy_embeddings(model, IDS[0], row):
            torch.testing.assert_close(explain(IDS[:1])[0], scores)


@METHODS
def test_sensitivity_to_other_tokens(model, method):
    """Ids themselves can be replaced, with nothing in between."""

    def replace_last(ids):
        changed = ids.clone()
        changed[:, -2] = torch.randint(2, 97, (len(ids),))
        return changed

    found = sensitivity_max(method(model), IDS, replace_last, n_perturb_samples=3, target=torch.tensor([3, 5]))
    assert found.shape == (2,)
    assert (found > 0).all()


def test_errors(coin, model):
    prompt = torch.tensor([[1, 2]])
    with pytest.raises(ValueError, match=r"one gate a token, \(1, 2\), got \(1, 3\)"):
        gated_log_probs(coin)(torch.ones(1, 3), prompt)
    with pytest.raises(ValueError, match="inputs must be token ids"):
        gated_log_probs(coin)(torch.ones(1, 2), torch.ones(1, 2))
    with pytest.raises(ValueError, match="perturbations_per_eval must be at least 1"):
        gated_log_probs(coin, perturbations_per_eval=0)(torch.ones(1, 2), prompt)
    with pytest.raises(ValueError, match="65 tokens, more than the 64 positions"):
        gated_log_probs(model)(torch.ones(1, 65), torch.ones(1, 65, dtype=torch.long))
    with pytest.raises(ValueError, match=r"inputs must be one prompt, \(1, n\), got 2"):
        explained_under_noise(NormXLogit(model).attribute, model, IDS)
    with pytest.raises(ValueError, match=r"noise must have .* \(R, 4, 32\), got \(1, 32, 4\)"):
        explained_under_noise(NormXLogit(model).attribute, model, IDS[:1])(torch.ones(1, 32, 4))
    with pytest.raises(ValueError, match="explain must return"):
        explained_under_noise(lambda ids: ids[0], model, IDS[:1])(torch.zeros(1, 4, 32))
    coin.generation = False
    for adapt in (gated_log_probs, lambda coin: explained_under_noise(torch.ones_like, coin, prompt)):
        with pytest.raises(TypeError, match="Sum does not predict the next token"):
            adapt(coin)
