import pytest
import torch

from captum_heta.features import Features
from captum_heta.models import Batch, CausalLM, trace_of
from captum_heta.options import CurvatureOptions
from captum_heta.terms.curvature import curvature
from captum_heta.terms.curvature.estimators import draw_probes
from captum_heta.testing import reference
from captum_heta.testing.architectures import tiny_model

FEATURES = Features(((0,), (1, 2), (3,), (5,)))
TARGETS = [3, 4]
ONE_PROBE = CurvatureOptions(curvature="exact", n_samples=1)


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama").double()


@pytest.fixture(scope="module")
def trace(model):
    lm = CausalLM(model)
    with lm.ready():
        yield trace_of(lm, lm.embed(torch.tensor([5, 6, 7, 8, 9, 10, 11])), n_outputs=2)


def estimate(trace, mode, **changes):
    options = {"n_samples": 4, "rank": 16, "batch_size": 64, "progress": lambda done: None} | changes
    batch, progress = Batch(options.pop("batch_size")), options.pop("progress")
    return curvature(trace, FEATURES, TARGETS, CurvatureOptions(curvature=mode, **options), batch, progress).scores


def drawn(trace, seed):
    """The probes of ``estimate``, by token: (4, 6, d)."""
    probes = torch.zeros(4, 6, 32, dtype=torch.float64)
    probes[:, [0, 1, 2, 3, 5]] = draw_probes(FEATURES.groups, 4, trace.embeds, torch.Generator().manual_seed(seed))
    return probes


@pytest.mark.parametrize("mode", ["exact", "low_rank", "gauss_newton", "fisher"])
class TestEveryMode:
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

    def test_no_feature_has_no_curvature(self, trace, mode):
        empty = curvature(trace, Features(((), ())), TARGETS, CurvatureOptions(curvature=mode), Batch(4))
        assert empty.scores.tolist() == [[0, 0], [0, 0]]


class TestAuto:
    def chosen(self, trace, **options):
        found = estimate(trace, "auto", **options)
        return next(mode for mode in ("exact", "low_rank") if torch.equal(found, estimate(trace, mode, **options)))

    def test_is_the_mode_with_fewer_products(self, trace):
        # 4 features, of 6 positions: 17 suffix positions for every probe, against 6 for every direction
        assert self.chosen(trace, n_samples=2, rank=16) == "exact"
        assert self.chosen(trace, n_samples=9, rank=16) == "low_rank"


def test_rank_matters_where_it_is_used(trace):
    for mode in ("fisher", "low_rank"):
        assert not torch.allclose(estimate(trace, mode, rank=4), estimate(trace, mode))
    for mode in ("exact", "gauss_newton"):
        assert torch.equal(estimate(trace, mode, rank=4), estimate(trace, mode))


@pytest.mark.parametrize(("window", "overlap"), [(1, 0.0), (2, 0.5), (3, 0.5)])
def test_windows_of_full_rank_change_nothing_but_the_draws(model, trace, window, overlap):
    # a window limits what varies, and not what the model sees: blocks of the Hessian stay what they are
    options = {"rank": 1000, "n_samples": 4000, "tolerance": 0}
    found = estimate(trace, "low_rank", window=window, overlap=overlap, **options)
    torch.testing.assert_close(found, estimate(trace, "low_rank", window=None, **options), rtol=0.05, atol=0)


def test_windows_matter_below_full_rank(trace):
    whole = estimate(trace, "low_rank")
    assert torch.equal(estimate(trace, "low_rank", window=5), whole)  # as long as the features together
    small = estimate(trace, "low_rank", window=3, overlap=0.0)
    assert not torch.allclose(small, whole)
    assert not torch.allclose(estimate(trace, "low_rank", window=3, overlap=0.5), small)


def test_each_overlapping_window_counts_the_same(trace, monkeypatch):
    seen = iter([2.0, 4.0, 9.0] * len(TARGETS))

    def norms(self, factors, groups, count, generator):
        found = torch.full((len(groups),), next(seen), dtype=torch.float64)
        return found, found

    monkeypatch.setattr("captum_heta.terms.curvature.estimate.Estimate._norms", norms)
    found = estimate(trace, "low_rank", window=3, overlap=0.5, tolerance=0)
    # windows of features (0, 1), (1, 2), (2, 3)
    assert found.tolist() == [[2.0, 3.0, 6.5, 9.0]] * 2


class TestLastLayers:
    def test_matter_and_need_so_many(self, trace):
        one, two = (estimate(trace, "exact", last_n_layers=count) for count in (1, 2))
        assert not torch.allclose(one, two)
        with pytest.raises(ValueError, match="last_n_layers is 3, and LlamaForCausalLM has 2 layers"):
            estimate(trace, "exact", last_n_layers=3)

    def test_of_all_layers_is_the_embeddings_where_these_enter_as_they_are(self, trace):
        torch.testing.assert_close(estimate(trace, "exact", last_n_layers=2), estimate(trace, "exact"))

    @pytest.mark.parametrize("mode", ["low_rank", "gauss_newton", "fisher"])
    def test_reach_every_mode(self, trace, mode):
        assert not torch.allclose(estimate(trace, mode, last_n_layers=1), estimate(trace, mode))

    def test_a_model_without_a_list_of_layers_is_refused(self, trace, monkeypatch):
        monkeypatch.setattr("captum_heta.models.causal_lm.decoder_layers", lambda *_: None)
        with pytest.raises(TypeError, match="layers of LlamaForCausalLM are in no torch.nn.ModuleList"):
            estimate(trace, "exact", last_n_layers=1)


def test_fisher_converges_to_the_gauss_newton_matrix(model, trace):
    matrix = reference.dense_fisher(model, trace.embeds[:6])

    def error(rank, seed):
        expected = reference.dense_curvature(matrix, FEATURES.groups, drawn(trace, seed))
        found = estimate(trace, "fisher", rank=rank, remainder=rank, seed=seed)[0]  # random vectors alone
        return ((found - expected) / expected).square().mean()

    few, many = (torch.stack([error(rank, seed) for seed in range(12)]).mean().sqrt() for rank in (16, 256))
    assert few / many == pytest.approx(4.0, rel=0.4)
    assert many < 0.06


def test_fisher_of_a_sure_model_needs_no_lucky_draw(model, trace):
    """One class has nearly all the probability and a score vector near zero; the curvature is in the others."""
    sure, embeds = tiny_model("llama").double(), trace.embeds[:6]
    direction = sure.model(inputs_embeds=embeds[None]).last_hidden_state[0, -1].detach()
    sure.lm_head.weight.data[3] += 0.3 * direction
    lm = CausalLM(sure)
    with lm.ready():
        confident = trace_of(lm, embeds, n_outputs=1)
        assert 0.99 < confident.log_probs[0, 3].exp() < 1
        options = CurvatureOptions(curvature="fisher", n_samples=4, rank=64, remainder=64)  # random vectors alone
        found = curvature(confident, FEATURES, [3], options, Batch(64)).scores[0]
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
        trace = trace_of(lm, lm.embed(torch.tensor([5, 6, 7])) * 0.05, n_outputs=1)
        with pytest.raises(
            RuntimeError, match=r"GPT2LMHeadModel in torch.float16 are not finite. Load .* float32 or bfloat16"
        ):
            curvature(
                trace, Features.of_tokens(range(3)), [0], CurvatureOptions(curvature="exact", n_samples=1), Batch(8)
            )


def test_weights_with_nan_are_an_error():
    model = tiny_model("llama")
    lm = CausalLM(model)
    with lm.ready():
        trace = trace_of(lm, lm.embed(torch.tensor([5, 6, 7])), n_outputs=1)
        model.model.norm.weight.data.fill_(torch.nan)
        with pytest.raises(RuntimeError, match=r"LlamaForCausalLM in torch.float32 are not finite. Check its weights"):
            curvature(
                trace, Features.of_tokens(range(3)), [0], CurvatureOptions(curvature="exact", n_samples=1), Batch(8)
            )


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.3, 2.0), (0.0, 1.0)])
class TestTogether:
    def joint(self, trace, mode, weights, **options):
        options = CurvatureOptions(curvature=mode, **{"n_samples": 4, **options})
        return curvature(trace, FEATURES, TARGETS, options, Batch(64), together=torch.tensor(weights)).scores

    def test_exact_is_of_the_sum_of_log_probabilities(self, model, trace, weights):
        def joint_log_prob(x):
            logits = reference.all_logits(model, x)[-2:].log_softmax(-1)
            return weights[0] * logits[0, TARGETS[0]] + weights[1] * logits[1, TARGETS[1]]

        hessian = torch.autograd.functional.hessian(joint_log_prob, trace.embeds)
        probes = torch.zeros(4, *trace.embeds.shape, dtype=torch.float64)
        probes[:, :6] = drawn(trace, seed=0)
        expected = reference.dense_curvature(hessian, FEATURES.groups, probes)
        torch.testing.assert_close(self.joint(trace, "exact", weights)[0], expected, rtol=1e-5, atol=1e-8)
        torch.testing.assert_close(
            self.joint(trace, "low_rank", weights, rank=10_000, tolerance=0)[0], expected, rtol=1e-5, atol=1e-8
        )

    def test_gauss_newton_is_the_sum_of_the_outputs_matrices(self, model, trace, weights):
        wide = torch.zeros(7, 32, 7, 32, dtype=torch.float64)
        for length, weight in zip((6, 7), weights, strict=True):
            wide[:length, :, :length] += weight * reference.dense_fisher(model, trace.embeds[:length])
        probes = torch.zeros(4, *trace.embeds.shape, dtype=torch.float64)
        probes[:, :6] = drawn(trace, seed=0)
        expected = reference.dense_curvature(wide, FEATURES.groups, probes)
        torch.testing.assert_close(self.joint(trace, "gauss_newton", weights)[0], expected, rtol=1e-5, atol=1e-8)
        whole = self.joint(trace, "fisher", weights, rank=1000, coverage=1.0)[0]
        torch.testing.assert_close(whole, expected, rtol=1e-5, atol=1e-8)
        sampled = self.joint(trace, "fisher", weights, rank=5000, remainder=5000)[0]
        assert ((sampled - expected) / expected).abs().max() < 0.1


@pytest.mark.parametrize("mode", ["exact", "low_rank", "gauss_newton", "fisher"])
def test_together_one_output_is_its_own(model, mode):
    lm = CausalLM(model)
    with lm.ready():
        trace = trace_of(lm, lm.embed(torch.tensor([5, 6, 7, 8, 9, 10])), n_outputs=1)
        options = CurvatureOptions(curvature=mode, n_samples=2)
        alone, together = (
            curvature(trace, FEATURES, [3], options, Batch(64), together=weights).scores
            for weights in (None, torch.ones(1))
        )
    assert torch.equal(alone, together)
