import pytest
import torch

from captum_heta.features import Features
from captum_heta.models import CausalLM
from captum_heta.terms import curvature
from captum_heta.terms.curvature.estimators import draw_probes
from captum_heta.testing import reference
from captum_heta.testing.architectures import tiny_model

FEATURES = Features(((0,), (1, 2), (3,), (5,)))
TARGETS = [3, 4]


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama").double()


@pytest.fixture(scope="module")
def trace(model):
    lm = CausalLM(model)
    with lm.ready():
        yield lm.trace(lm.embed(torch.tensor([5, 6, 7, 8, 9, 10, 11])), torch.arange(7), n_outputs=2)


def estimate(trace, mode, **changes):
    options = {"n_samples": 4, "rank": 16, "seed": 0, "batch_size": 64} | changes
    return curvature(trace, FEATURES, TARGETS, mode=mode, **options)


def drawn(trace, seed):
    """The probes of ``estimate``, by token: (4, 6, d)."""
    probes = torch.zeros(4, 6, 32, dtype=torch.float64)
    probes[:, [0, 1, 2, 3, 5]] = draw_probes(FEATURES.groups, 4, trace.embeds, torch.Generator().manual_seed(seed))
    return probes


@pytest.mark.parametrize("mode", ["exact", "fisher"])
class TestBothModes:
    def test_deterministic_and_independent_of_the_batch_size(self, trace, mode):
        first = estimate(trace, mode)
        assert (first > 0).all()
        torch.testing.assert_close(estimate(trace, mode, batch_size=3), first)
        assert not torch.allclose(estimate(trace, mode, seed=1), first)

    def test_global_random_state_is_left_alone(self, trace, mode):
        before = torch.get_rng_state()
        estimate(trace, mode)
        assert torch.equal(torch.get_rng_state(), before)

    def test_number_of_probes_matters(self, trace, mode):
        assert not torch.allclose(estimate(trace, mode, n_samples=5), estimate(trace, mode))

    def test_progress_counts_features_for_each_output(self, trace, mode):
        done = []
        estimate(trace, mode, progress=done.append)
        assert sum(done) == len(TARGETS) * len(FEATURES)


def test_auto_is_exact(trace):
    assert torch.equal(estimate(trace, "auto"), estimate(trace, "exact"))


def test_rank_matters_to_fisher_only(trace):
    assert not torch.allclose(estimate(trace, "fisher", rank=4), estimate(trace, "fisher"))
    assert torch.equal(estimate(trace, "exact", rank=4), estimate(trace, "exact"))


@pytest.mark.parametrize("mode", ["low_rank", "gauss_newton"])
def test_modes_to_come_name_themselves(trace, mode):
    with pytest.raises(NotImplementedError, match=f"curvature='{mode}' is not implemented yet"):
        estimate(trace, mode)


def test_fisher_converges_to_the_gauss_newton_matrix(model, trace):
    matrix = reference.dense_fisher(model, trace.embeds[:6])

    def error(rank, seed):
        expected = reference.dense_curvature(matrix, FEATURES.groups, drawn(trace, seed))
        found = estimate(trace, "fisher", rank=rank, seed=seed)[0]
        return ((found - expected) / expected).square().mean()

    few, many = (torch.stack([error(rank, seed) for seed in range(12)]).mean().sqrt() for rank in (256, 4096))
    assert few / many == pytest.approx(4.0, rel=0.4)
    assert many < 0.1


def test_fisher_of_a_sure_model_needs_no_lucky_draw(model, trace):
    """One class has nearly all the probability and a score vector near zero; the curvature is in the others."""
    sure, embeds = tiny_model("llama").double(), trace.embeds[:6]
    direction = sure.model(inputs_embeds=embeds[None]).last_hidden_state[0, -1].detach()
    sure.lm_head.weight.data[3] += 0.3 * direction
    lm = CausalLM(sure)
    with lm.ready():
        confident = lm.trace(embeds, torch.arange(6), n_outputs=1)
        assert 0.99 < confident.log_probs[0, 3].exp() < 1
        found = curvature(confident, FEATURES, [3], mode="fisher", n_samples=4, rank=64, seed=0, batch_size=64)[0]
    expected = reference.dense_curvature(reference.dense_fisher(sure, embeds), FEATURES.groups, drawn(trace, seed=0))
    assert ((found - expected) / expected).abs().max() < 0.6


def test_exact_equals_one_product_at_a_time(model, trace):
    expected = reference.naive_curvature(model, trace.embeds[:6], TARGETS[0], FEATURES.groups, drawn(trace, seed=0))
    torch.testing.assert_close(estimate(trace, "exact")[0], expected, rtol=1e-5, atol=1e-8)


def test_float16_that_overflows_says_what_to_do():
    # the second derivative of a layer norm has 1 / sigma^3, beyond float16 for embeddings as small as GPT-2's
    model = tiny_model("gpt2").half()
    model.transformer.wpe.weight.data *= 0.05
    lm = CausalLM(model)
    with lm.ready():
        trace = lm.trace(lm.embed(torch.tensor([5, 6, 7])) * 0.05, torch.arange(3), n_outputs=1)
        with pytest.raises(
            RuntimeError, match=r"GPT2LMHeadModel in torch.float16 are not finite. Load .* float32 or bfloat16"
        ):
            curvature(trace, Features.of_tokens(range(3)), [0], mode="exact", n_samples=1, rank=1, seed=0, batch_size=8)


def test_weights_with_nan_are_an_error():
    model = tiny_model("llama")
    lm = CausalLM(model)
    with lm.ready():
        trace = lm.trace(lm.embed(torch.tensor([5, 6, 7])), torch.arange(3), n_outputs=1)
        model.model.norm.weight.data.fill_(torch.nan)
        with pytest.raises(RuntimeError, match=r"LlamaForCausalLM in torch.float32 are not finite. Check its weights"):
            curvature(trace, Features.of_tokens(range(3)), [0], mode="exact", n_samples=1, rank=1, seed=0, batch_size=8)
