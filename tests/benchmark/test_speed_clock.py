import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_heta.benchmark import speed_clock
from captum_heta.benchmark.speed_clock import by_operations, line, operations, product_rate, rate, seconds

CPU = torch.device("cpu")


@given(st.floats(0, 10), st.floats(0, 10), st.integers(1, 5), st.integers(0, 100))
def test_a_line_goes_on_as_it_began(start, step, few, more):
    count = few + more
    assert line(lambda steps: start + step * steps, few, count) == pytest.approx(start + step * count)


def test_a_line_does_not_fall():
    assert line({1: 2.0, 2: 1.5}.__getitem__, 1, 10) == 2.0


def test_a_line_needs_a_step():
    with pytest.raises(ValueError, match="few must be at least 1, got 0"):
        line(float, 0, 10)


def test_operations_of_products_are_counted():
    left, right = torch.ones(3, 5), torch.ones(5, 7)
    assert operations(lambda: left @ right) == 2 * 3 * 5 * 7
    query = torch.ones(1, 2, 6, 4)  # 2 heads, 6 positions: two products of 6 x 4 x 6 each
    attend = torch.nn.functional.scaled_dot_product_attention
    assert operations(lambda: attend(query, query, query)) == 2 * 2 * 2 * 6 * 4 * 6


def test_formula_follows_the_operations(monkeypatch):
    # 2 n (3 n) 4 + 2 n 5 6 operations
    def call(n):
        _ = torch.ones(n, 3 * n) @ torch.ones(3 * n, 4)
        _ = torch.ones(n, 5) @ torch.ones(5, 6)

    asked = []

    def half_a_second(run, device):
        asked.append(operations(run))
        return 0.5

    monkeypatch.setattr(speed_clock, "seconds", half_a_second)

    def expected(n):
        return 24 * n**2 + 60 * n

    assert by_operations(call, 100, 8, CPU) == pytest.approx(0.5 * expected(100) / expected(8))
    assert asked == [expected(8)]  # the longer one is never run


@pytest.mark.parametrize("base", [0, 7])
def test_formula_halves_its_base(base):
    with pytest.raises(ValueError, match=f"base must be even and at least 2, got {base}"):
        by_operations(lambda n: None, 100, base, CPU)


def test_a_call_is_timed_once_or_warm():
    calls = []
    assert seconds(lambda: calls.append(1), CPU) > 0
    assert len(calls) == 1
    seconds(lambda: calls.append(1), CPU, warm=True)
    assert len(calls) == 3


def test_rates_are_of_operations_a_second(monkeypatch):
    monkeypatch.setattr(speed_clock, "seconds", lambda run, device: 0.25)
    square = torch.ones(10, 10)
    assert rate(lambda: square @ square, CPU) == 2000 / 0.25
    assert product_rate(CPU, torch.float32, width=10) == 2000 / 0.25
