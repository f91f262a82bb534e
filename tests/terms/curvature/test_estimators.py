"""Estimators against dense matrices, which they take like any operator."""

import pytest
import torch

from captum_heta.models import Batch
from captum_heta.terms.curvature.estimators import (
    Factors,
    draw_probes,
    draws_of_groups,
    exact_block_norms,
    mean_and_error,
)

M, D = 5, 3
BLOCKS = torch.tensor(
    [[True, False, False, False, False], [False, True, False, True, False], [False, False, True, False, True]]
)


@pytest.fixture
def matrix():
    half = torch.randn(M * D, M * D, dtype=torch.float64)
    return half + half.T


def operator(matrix):
    return lambda vectors: (vectors.flatten(1) @ matrix).unflatten(1, (M, D))


def expected_norms(matrix, probes):
    blocks = matrix.unflatten(0, (M, D)).unflatten(2, (M, D))
    norms = []
    for kept in BLOCKS:
        block = blocks[kept][:, :, kept].flatten(0, 1).flatten(1, 2)
        norms.append(torch.stack([(block @ r[kept].flatten()).abs().sum() for r in probes]).mean())
    return torch.stack(norms)


@pytest.mark.parametrize("batch_size", [1, 4, 1000])
def test_exact_norms_of_a_dense_matrix(matrix, batch_size):
    probes = draw_probes([range(M)], 7, torch.zeros(M, D, dtype=torch.float64), torch.Generator().manual_seed(0))
    found = exact_block_norms(operator(matrix), BLOCKS, probes, Batch(batch_size)).mean(1)
    torch.testing.assert_close(found, expected_norms(matrix, probes))


def test_factored_norms_of_a_dense_matrix():
    factors = torch.randn(4, M, D, dtype=torch.float64)
    weights = torch.tensor([0.5, -1.0, 2.0, 0.1], dtype=torch.float64)
    matrix = torch.einsum("k,ki,kj->ij", weights, factors.flatten(1), factors.flatten(1))
    probes = draw_probes([range(M)], 7, torch.zeros(M, D, dtype=torch.float64), torch.Generator().manual_seed(0))
    found = Factors(torch.arange(M) + 10, factors, weights, 4)  # positions need not begin at 0
    groups = [kept.nonzero()[:, 0] for kept in BLOCKS]
    found = torch.stack([found.norms((group + 10).tolist(), probes[:, group]).mean() for group in groups])
    torch.testing.assert_close(found, expected_norms(matrix, probes))


def test_error_shrinks_with_the_square_root_of_the_probes(matrix):
    like = torch.zeros(M, D, dtype=torch.float64)

    def estimate(count, seed):
        probes = draw_probes([range(M)], count, like, torch.Generator().manual_seed(seed))
        return exact_block_norms(operator(matrix), BLOCKS, probes, Batch(4096)).mean(1)

    truth = estimate(100_000, seed=999)
    errors = [
        torch.stack([(estimate(count, seed) - truth).square().mean() for seed in range(200)]).mean().sqrt()
        for count in (4, 64)
    ]
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.25)


def test_probes_are_signs_and_do_not_depend_on_how_they_are_drawn():
    like = torch.zeros(6, D)
    groups = [(0,), (1, 4), (2,), (3, 5)]
    whole = draw_probes(groups, 3, like, torch.Generator().manual_seed(1))
    assert whole.shape == (3, 6, D)
    assert set(whole.unique().tolist()) == {-1.0, 1.0}
    generator = torch.Generator().manual_seed(1)
    parts = {}
    for group in groups:
        parts |= dict(zip(group, draw_probes([group], 3, like, generator).unbind(1), strict=True))
    torch.testing.assert_close(torch.stack([parts[i] for i in range(6)], dim=1), whole)
    drawn = draws_of_groups(groups, 3, like, torch.Generator().manual_seed(1))
    for group, signs in zip(groups, drawn, strict=True):
        torch.testing.assert_close(signs, whole[:, list(group)])


def test_probes_leave_the_global_state_alone():
    before = torch.get_rng_state()
    draw_probes([(0,)], 3, torch.zeros(1, D), torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_standard_error_is_that_of_the_mean():
    norms = torch.tensor([[1.0, 2.0, 3.0, 6.0], [2.0, 2.0, 2.0, 2.0]])
    mean, error = mean_and_error(norms)
    assert mean.tolist() == [3, 2]
    torch.testing.assert_close(error, torch.tensor([(14 / 3) ** 0.5 / 2, 0.0]))
    assert mean_and_error(norms[:, :1])[1].isnan().all()  # one draw does not say how far it is off
