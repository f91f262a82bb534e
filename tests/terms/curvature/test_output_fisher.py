"""The output's Fisher matrix against its definition, and its few vectors against it."""

import pytest
import torch

from captum_heta.features import Features
from captum_heta.models import Batch, CausalLM, trace_of
from captum_heta.options import CurvatureOptions
from captum_heta.terms.curvature import curvature
from captum_heta.terms.curvature.output_fisher import OutputFisher
from captum_heta.testing import reference
from captum_heta.testing.architectures import tiny_model

D, V = 12, 40


class Head(torch.nn.Module):
    """With a bias, a soft cap and a scale, as heads of transformers have them."""

    def __init__(self, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        scale = 0.6 ** torch.arange(D, dtype=torch.float64)  # some directions matter more
        self.weight = torch.randn(V, D, generator=generator, dtype=torch.float64) * scale
        self.bias = torch.randn(V, generator=generator, dtype=torch.float64)

    def of_logits(self, logits):
        return (3 * torch.tanh((logits + self.bias) / 3) * 1.5).log_softmax(-1)

    def forward(self, states):
        return self.of_logits(states @ self.weight.T)


def fisher_of(head, states):
    """F by its definition, (..., d, d)."""
    jacobian = torch.autograd.functional.jacobian(head, states)
    return torch.einsum("t,td,te->de", head(states).exp(), jacobian, jacobian)


def output_fisher(head, states, rank, seed=0, batch=7):
    leaf = (states @ head.weight.T).detach().requires_grad_()
    log_probs = head.of_logits(leaf).reshape(-1, V)
    return OutputFisher(log_probs, leaf, head.weight, rank, torch.Generator().manual_seed(seed), Batch(batch))


def matrix_of(chosen):
    rows = chosen.vectors.reshape(len(chosen.vectors), -1)
    return torch.einsum("r,ri,rj->ij", chosen.weights, rows, rows)


@pytest.fixture
def states():
    return torch.randn(1, 1, D, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.parametrize("seed", range(3))
def test_all_vectors_make_the_matrix(states, seed):
    head = Head(seed)
    chosen = output_fisher(head, states, rank=D).chosen(1.0, None)
    torch.testing.assert_close(matrix_of(chosen), fisher_of(head, states[0, 0]), rtol=1e-6, atol=1e-9)
    assert chosen.omitted < 1e-6


@pytest.mark.parametrize("coverage", [0.3, 0.8, 0.99])
def test_as_few_eigenvectors_as_cover_the_share(states, coverage):
    head = Head()
    chosen = output_fisher(head, states, rank=D).chosen(coverage, None)
    values = torch.linalg.eigvalsh(fisher_of(head, states[0, 0])).flip(0)
    count = int((values.cumsum(0) / values.sum() < coverage).sum()) + 1
    torch.testing.assert_close(chosen.vectors.flatten(1).square().sum(-1), values[:count], rtol=1e-5, atol=1e-9)
    assert chosen.omitted == pytest.approx(1 - (values[:count].sum() / values.sum()).item(), abs=1e-5)


def test_where_they_do_not_cover_it_random_ones_stand_for_the_rest(states):
    head = Head()
    matrix = fisher_of(head, states[0, 0])

    def found(seed, **options):
        return output_fisher(head, states, rank=4, seed=seed).chosen(
            **({"coverage": 0.9999, "remainder": None} | options)
        )

    chosen = found(0)
    assert chosen.weights.tolist() == [1, 1, 0.5, 0.5]
    assert chosen.omitted == 0
    mean = torch.stack([matrix_of(found(seed)) for seed in range(1500)]).mean(0)
    assert (mean - matrix).norm() < 0.03 * matrix.norm()
    # without them the estimate is too small, and says by how much
    short = found(0, remainder=0)
    assert short.weights.tolist() == [1, 1, 1, 1]
    assert short.omitted == pytest.approx(1 - (matrix_of(short).trace() / matrix.trace()).item(), abs=0.02)


def test_random_ones_alone_are_unbiased_too(states):
    head = Head()
    matrix = fisher_of(head, states[0, 0])
    found = [output_fisher(head, states, 8, seed).chosen(0.8, 8) for seed in range(400)]
    assert all(one.weights.tolist() == [1 / 8] * 8 for one in found)
    mean = torch.stack([matrix_of(one) for one in found]).mean(0)
    assert (mean - matrix).norm() < 0.05 * matrix.norm()


def test_each_prediction_has_its_own_matrix_and_its_own_place():
    head = Head()
    states = torch.randn(1, 5, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    leaf = (states @ head.weight.T).requires_grad_()
    log_probs = head.of_logits(leaf)[0, -3:]
    outputs = OutputFisher(log_probs, leaf, head.weight, 3 * D, torch.Generator().manual_seed(0), Batch(4))
    chosen = outputs.chosen(1.0, None)
    assert chosen.vectors.shape[1:] == states.shape
    assert not chosen.vectors[:, :, :2].any()  # positions that predict nothing here
    whole = matrix_of(chosen).view(5, D, 5, D)
    for k in range(5):
        expected = fisher_of(head, states[0, k]) if k >= 2 else torch.zeros(D, D, dtype=torch.float64)
        torch.testing.assert_close(whole[k, :, k], expected, rtol=1e-5, atol=1e-8)
    assert whole[2, :, 3].abs().max() < 1e-12


def test_what_reads_other_positions_is_an_error():
    head = Head()
    leaf = torch.randn(1, 3, V, dtype=torch.float64, requires_grad=True)
    log_probs = head.of_logits(leaf.cumsum(1))[0, -1:]
    with pytest.raises(RuntimeError, match="read at other positions than those of the predictions"):
        OutputFisher(log_probs, leaf, head.weight, 4, torch.Generator().manual_seed(0), Batch(4)).chosen(0.8, None)


@pytest.mark.parametrize("name", ["gemma2", "gpt2", "bloom", "mixtral"])
@pytest.mark.parametrize("cut", [True, False])
def test_of_a_model_it_is_the_gauss_newton_matrix(name, cut, monkeypatch):
    """Gemma 2 caps its logits. Where the head cannot be cut off, the log-probabilities stand for the state."""
    if not cut:
        monkeypatch.setattr("captum_heta.models.head.is_plain", lambda head: False)
    model = tiny_model(name).double()
    lm, features = CausalLM(model), Features(((0,), (1, 2), (4,)))
    with lm.lock, lm.restored(), lm.ready():
        trace = trace_of(lm, lm.embed(torch.tensor([5, 6, 7, 8, 9])), 1)
        options = CurvatureOptions(curvature="fisher", rank=1000, coverage=1.0, n_samples=20)
        found = curvature(trace, features, [3], options, Batch(16))
        truth = curvature(trace, features, [3], CurvatureOptions(curvature="gauss_newton", n_samples=20), Batch(16))
    torch.testing.assert_close(found.scores, truth.scores, rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(found.errors, truth.errors, rtol=1e-3, atol=1e-9)


def test_outputs_together_are_the_sum_of_their_matrices():
    model = tiny_model("llama").double()
    lm, features = CausalLM(model), Features.of_tokens(range(3))
    with lm.lock, lm.restored(), lm.ready():
        trace = trace_of(lm, lm.embed(torch.tensor([5, 6, 7, 8])), 2)
        options = CurvatureOptions(curvature="fisher", rank=1000, coverage=1.0, n_samples=5)
        found = curvature(trace, features, [3, 4], options, Batch(16), together=torch.ones(2)).scores[0]
        embeds = trace.embeds
    matrix = torch.zeros(4, 32, 4, 32, dtype=torch.float64)
    for length in (3, 4):
        matrix[:length, :, :length] += reference.dense_fisher(model, embeds[:length])
    from captum_heta.terms.curvature.estimators import draw_probes

    probes = torch.zeros(5, 4, 32, dtype=torch.float64)
    probes[:, :3] = draw_probes(features.groups, 5, embeds, torch.Generator().manual_seed(0))
    torch.testing.assert_close(found, reference.dense_curvature(matrix, features.groups, probes), rtol=1e-5, atol=1e-9)


def test_options_change_what_is_found():
    model = tiny_model("llama")
    lm, features = CausalLM(model), Features.of_tokens(range(5))
    with lm.lock, lm.restored(), lm.ready():
        trace = trace_of(lm, lm.embed(torch.tensor([5, 6, 7, 8, 9])), 1)

        def found(**options):
            return curvature(trace, features, [3], CurvatureOptions(curvature="fisher", **options), Batch(16))

        plain = found()
        assert found(coverage=0.2).products < found(coverage=0.6, rank=32).products
        assert not torch.equal(found(remainder=2).scores, plain.scores)
        assert found(remainder=0, rank=4).omitted > found(remainder=0, rank=8).omitted > 0
        assert plain.errors.shape == plain.scores.shape
        assert (found(n_samples=400).errors < found(n_samples=25).errors).all()
