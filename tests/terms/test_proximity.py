import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_heta.terms import proximity
from captum_heta.terms.proximity import Proximity


def whole(y, weights, values, mixer):
    """norm1(y) - norm1(y - c) with every part written out, at least 0."""
    parts = weights[..., None] * (values @ mixer)
    return (y.abs().sum(-1)[:, None] - (y[:, None] - parts).abs().sum(-1)).clamp(min=0)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1e-4, 0.05, 1.0, 40.0]), zeros=st.booleans())
def test_equals_the_definition(seed, scale, zeros):
    generator = torch.Generator().manual_seed(seed)
    y = torch.randn(5, 16, generator=generator, dtype=torch.float64)
    if zeros:
        y[:, ::3] = 0  # any part takes something away there
    weights = torch.rand(5, 7, generator=generator, dtype=torch.float64) * scale
    weights[:, 2] = 0
    head = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((7, 3), (3, 16))]
    torch.testing.assert_close(Proximity(y).of_scaled(weights, *head), whole(y, weights, *head))
    # a norm may turn parts around
    torch.testing.assert_close(Proximity(y).of_scaled(-weights, *head), whole(y, -weights, *head))
    own = torch.randn(5, 16, generator=generator, dtype=torch.float64) * scale
    each = torch.eye(5, dtype=torch.float64), own, torch.eye(16, dtype=torch.float64)
    torch.testing.assert_close(Proximity(y).of_own(own), whole(y, *each).diagonal())


def test_a_zero_has_one_sign_only():
    y = torch.tensor([[-0.0, 0.0, 2.0]])
    for part in ([1.0, 1.0, 4.0], [-1.0, -1.0, 4.0]):
        head = torch.tensor([part]), torch.eye(3)
        weights = torch.tensor([[0.25]])
        assert Proximity(y).of_scaled(weights, *head).tolist() == [[0.5]]


def test_the_sum_itself_is_all_and_its_opposite_nothing():
    y = torch.tensor([[1.0, -2.0, 0.0, 3.0]])
    assert Proximity(y).of_own(y).tolist() == [6.0]
    assert Proximity(y).of_own(-y).tolist() == [0.0]
    assert Proximity(y).of_own(3 * y).tolist() == [0.0]  # 6 - 12
    assert Proximity(y).of_scaled(torch.tensor([[0.5]]), y, torch.eye(4)).tolist() == [[3.0]]


def test_few_entries_at_a_time_give_the_same(monkeypatch):
    torch.manual_seed(0)
    y, parts = torch.randn(9, 12), (torch.rand(9, 11), torch.randn(11, 5), torch.randn(5, 12))
    expected = Proximity(y).of_scaled(*parts)
    monkeypatch.setattr(proximity, "_ENTRIES", {"cpu": 20})
    torch.testing.assert_close(Proximity(y).of_scaled(*parts), expected)


def test_a_small_part_is_not_lost_in_rounding():
    torch.manual_seed(0)
    y, head = torch.randn(1, 256), (torch.randn(1, 4), torch.randn(4, 256))
    found = Proximity(y).of_scaled(torch.tensor([[1e-9]]), *head)
    exact = whole(y.double(), torch.tensor([[1e-9]], dtype=torch.float64), *(one.double() for one in head))
    torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=0)


@pytest.mark.parametrize("shape", [(0, 4), (3, 0)])
def test_nothing_has_no_parts(shape):
    parts = torch.rand(shape), torch.randn(shape[1], 3), torch.randn(3, 8)
    assert Proximity(torch.randn(shape[0], 8)).of_scaled(*parts).shape == shape
