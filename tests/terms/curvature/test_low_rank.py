import pytest
import torch

from captum_heta.models import Batch
from captum_heta.terms.curvature.low_rank import low_rank

M, D = 6, 4
SIZE = M * D


def symmetric(rank, seed=0):
    generator = torch.Generator().manual_seed(seed)
    half = torch.randn(SIZE, rank, generator=generator, dtype=torch.float64)
    return (half * torch.randn(rank, generator=generator, dtype=torch.float64)) @ half.T


def decomposed(matrix, rank, seed=0):
    """The decomposition as (k, SIZE) and (k,), and the number of products that it took."""
    count = 0

    def operator(vectors):
        nonlocal count
        count += len(vectors)
        return (vectors.flatten(1) @ matrix).view(-1, M, D)

    x = torch.zeros(M, D, dtype=torch.float64)
    found = low_rank(operator, x, rank, torch.Generator().manual_seed(seed), Batch(3))
    assert found.products == count
    return found.vectors.flatten(1), found.values, count


def rebuilt(vectors, values):
    return (vectors.T * values) @ vectors


@pytest.mark.parametrize("rank", [SIZE, SIZE + 5])
def test_full_rank_is_the_matrix(rank):
    matrix = symmetric(SIZE)
    vectors, values, count = decomposed(matrix, rank)
    torch.testing.assert_close(rebuilt(vectors, values), matrix)
    assert count == SIZE


def test_a_matrix_of_low_rank_is_found_and_takes_no_more_products_than_it_needs():
    matrix = symmetric(5)
    vectors, values, count = decomposed(matrix, rank=20)
    torch.testing.assert_close(rebuilt(vectors, values), matrix)
    assert len(values) < 20
    assert count < 12


def test_zero_has_no_eigenvectors():
    vectors, values, _ = decomposed(torch.zeros(SIZE, SIZE, dtype=torch.float64), rank=8)
    assert vectors.shape == (0, SIZE)
    assert len(values) == 0


def test_vectors_are_orthonormal_and_values_have_both_signs():
    vectors, values, _ = decomposed(symmetric(SIZE), rank=10)
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(len(values), dtype=torch.float64))
    assert (values > 0).any()
    assert (values < 0).any()


def test_error_falls_with_the_rank_and_is_near_the_best_possible():
    spectrum = 0.7 ** torch.arange(SIZE, dtype=torch.float64) * torch.tensor([1.0, -1.0]).repeat(SIZE // 2)
    frame = torch.linalg.qr(torch.randn(SIZE, SIZE, dtype=torch.float64)).Q
    matrix = (frame * spectrum) @ frame.T
    errors = {rank: (rebuilt(*decomposed(matrix, rank)[:2]) - matrix).norm().item() for rank in (4, 8, 16)}
    assert errors[4] > errors[8] > errors[16]
    for rank, error in errors.items():
        assert error < 2.5 * spectrum[rank:].norm()  # of the best matrix of that rank


def test_same_generator_same_numbers():
    matrix = symmetric(SIZE)
    first, again, other = (decomposed(matrix, 8, seed)[1] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
