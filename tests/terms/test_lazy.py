import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_heta.terms.lazy import lazily, likely


def looked(cheap, costly, skip):
    """What `lazily` finds, and which features it looked at."""
    asked = []

    def values(some):
        asked.extend(some)
        return costly[:, some]

    return lazily(cheap, values, skip), asked


def test_looks_at_everything_without_skip():
    cheap, costly = torch.rand(2, 30), torch.randn(2, 30)
    found, asked = looked(cheap, costly, 0)
    assert torch.equal(found.values, costly)
    assert sorted(asked) == list(range(30))
    assert found.bound.tolist() == [0, 0]


def test_takes_the_largest_first_and_leaves_what_cannot_matter():
    cheap = 0.5 ** torch.arange(40.0)[None]
    costly = torch.ones(1, 40)
    found, asked = looked(cheap, costly, 0.02)
    assert asked == list(range(len(asked)))
    assert 6 <= len(asked) <= 12
    assert found.values.isnan().sum() == 40 - len(asked)
    assert 0 < found.bound.item() < 0.02


def test_looks_at_as_many_as_cost_so_much_in_any_case():
    cheap = 0.1 ** torch.arange(40.0)[None]
    costs = [float(i) for i in range(40)]
    found, asked = [], []
    for least in (0, 78, 1e9):
        asked.clear()
        lazily(cheap, lambda some: asked.extend(some) or torch.ones(1, len(some)), 0.02, costs, least)
        found.append(len(asked))
    assert found == [8, 13, 40]  # 0 + 1 + ... + 12 is 78


def test_goes_on_while_nothing_was_found():
    costly = torch.full((1, 40), -1.0)
    costly[0, 30] = 1  # what supports the output has little of the cheap factor
    found, asked = looked(0.7 ** torch.arange(40.0)[None], costly, 0.02)
    assert 30 in asked
    assert found.values[0, 30] == 1


def test_a_row_that_needs_a_feature_is_enough():
    cheap = torch.stack([0.3 ** torch.arange(20.0), 0.3 ** torch.arange(20.0).flip(0)])
    _, asked = looked(cheap, torch.ones(2, 20), 0.02)
    assert {0, 1, 18, 19} <= set(asked)


def test_one_large_value_at_the_start_does_not_keep_it_going():
    cheap = 0.97 ** torch.arange(300.0)[None]
    costly = torch.full((1, 300), 0.1)
    _, asked = looked(cheap, costly, 0.02)
    costly[0, 0] = 8
    found, fewer = looked(cheap, costly, 0.02)
    assert 48 < len(fewer) <= len(asked)
    assert 0 < found.bound.item() <= 0.02
    costly[0, len(fewer) - 1] = 8  # a late one does
    assert len(looked(cheap, costly, 0.02)[1]) > len(fewer)


def test_what_is_likely_next():
    values = torch.cat([torch.full((1, 2), 8.0), torch.linspace(0.3, 0.1, 48)[None]], 1)
    assert likely(values).tolist() == pytest.approx([(16 + 0.2 * 48) / 50])
    assert likely(values[:, 1:]).tolist() == pytest.approx([(8 + 0.2 * 48) / 49])
    assert likely(values[:, 2:]).item() == pytest.approx(0.3)
    assert likely(values[:, :20]).item() == 8
    assert likely(-values).item() == 0


def test_nothing_to_look_at():
    found, asked = looked(torch.rand(2, 0), torch.rand(2, 0), 0.02)
    assert found.values.shape == (2, 0)
    assert not asked
    assert found.bound.tolist() == [0, 0]
    nothing, _ = looked(torch.zeros(1, 9), torch.ones(1, 9), 0.02)
    assert nothing.bound.tolist() == [0]


@given(st.integers(0, 10_000), st.sampled_from([0.01, 0.02, 0.1, 0.5]), st.floats(0.5, 4))
def test_what_is_left_is_below_the_bound_if_nothing_left_is_larger_than_likely(seed, skip, spread):
    generator = torch.Generator().manual_seed(seed)
    cheap = torch.rand(2, 150, generator=generator).pow(spread)
    costly = torch.randn(2, 150, generator=generator).exp() - 0.5
    found, asked = looked(cheap, costly, skip)
    products = cheap * costly.clamp(min=0)
    left = [i for i in range(150) if i not in asked]
    for row in range(2):
        if left and costly[row, left].max() <= likely(costly[row : row + 1, asked]):
            lost = products[row, left].sum() / products[row].sum()
            assert lost <= found.bound[row] + 1e-6
            assert found.bound[row] <= skip


@pytest.mark.parametrize("count", [1, 3, 200])
def test_few_rounds(count):
    rounds = []
    lazily(torch.rand(1, count), lambda some: rounds.append(len(some)) or torch.rand(1, len(some)), 0.02)
    assert len(rounds) <= 12
