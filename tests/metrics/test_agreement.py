import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_heta.metrics import spearman, top_k_overlap


def test_spearman_of_hand_computed_ranks():
    one = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert spearman(one, 10 * one + 1).item() == pytest.approx(1)
    assert spearman(one, -one).item() == pytest.approx(-1)
    # ranks 0 1 2 3 and 1 0 3 2: 1 - 6 * 4 / (4 * 15)
    assert spearman(one, torch.tensor([2.0, 1.0, 4.0, 3.0])).item() == pytest.approx(0.6)
    # ties share a rank: 0.5 0.5 2 3
    assert spearman(one, torch.tensor([1.0, 1.0, 5.0, 9.0])).item() == pytest.approx(0.9487, abs=1e-4)


def test_spearman_of_constants_is_undefined():
    assert math.isnan(spearman(torch.ones(3), torch.arange(3.0)))


def test_spearman_broadcasts():
    rows = torch.randn(3, 6)
    table = spearman(rows[:, None], rows)
    assert table.shape == (3, 3)
    torch.testing.assert_close(table.diagonal(), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(table, table.T)


def naive_ranks(values):
    """Each value's rank is how many are below it, and half of those that are equal to it."""
    return [sum(other < value for other in values) + (values.count(value) - 1) / 2 for value in values]


def naive_spearman(one, other):
    a, b = ([rank - (len(one) - 1) / 2 for rank in naive_ranks(values)] for values in (one, other))
    product, squares = sum(x * y for x, y in zip(a, b, strict=True)), sum(x * x for x in a) * sum(y * y for y in b)
    return product / math.sqrt(squares) if squares else math.nan


def test_a_table_of_rows_is_that_of_pairs_one_by_one():
    rows = torch.cat([torch.randn(3, 17), torch.randint(4, (3, 17)), torch.full((1, 17), 0.3)])  # ties, and a constant
    expected = torch.tensor([[naive_spearman(a, b) for b in rows.tolist()] for a in rows.tolist()], dtype=torch.float64)
    assert expected.isnan().sum() == 13
    torch.testing.assert_close(spearman(rows[:, None], rows), expected, equal_nan=True)
    for a, row in zip(rows, expected, strict=True):
        torch.testing.assert_close(spearman(a, rows), row, equal_nan=True)
    torch.testing.assert_close(spearman(rows, rows.flip(0)), expected.fliplr().diagonal(), equal_nan=True)


@given(st.permutations(range(8)), st.lists(st.integers(-3, 3), min_size=8, max_size=8))
def test_order_of_the_features_does_not_matter(order, values):
    one, other = torch.tensor(values, dtype=torch.float), torch.arange(8.0).square()
    index = torch.tensor(order)
    torch.testing.assert_close(spearman(one[index], other[index]), spearman(one, other), equal_nan=True)


def test_top_k_overlap():
    one, other = torch.tensor([4.0, 3, 2, 1]), torch.tensor([1.0, 9, 8, 0])
    assert [top_k_overlap(one, other, k).item() for k in (1, 2, 3, 4)] == pytest.approx([0, 1 / 2, 1, 1])
    assert top_k_overlap(torch.zeros(4), one, 2).item() == 1  # the earlier of equal ones
    with pytest.raises(ValueError, match="k must be from 1 to the number of features, 4, got 5"):
        top_k_overlap(one, other, 5)
