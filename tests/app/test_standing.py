"""How far a run is, and how long it still takes."""

import pytest
import torch

from captum_heta.app import standing as module
from captum_heta.app.standing import Standing


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def pass_by(seconds):
        now[0] += seconds

    return pass_by


def test_the_time_left_is_that_of_the_steps_before(clock):
    one = Standing("a session", "Explain")
    one.started()
    clock(3)
    assert str(one) == "Explain: 3 s so far"
    one.method("HETA", 2, 2)
    clock(1)
    assert str(one) == "HETA (2 of 2): 1 s so far"
    one.begin(40)
    assert one.left is None
    clock(2)
    one.advance(10)
    assert (one.share, one.left) == (0.25, 6.0)
    assert str(one) == "HETA (2 of 2): 25%, about 6 s left, or less"
    clock(2)
    assert one.left == 4.0
    one.advance(100)  # more than was told
    assert (one.share, one.left) == (1.0, 0.0)
    one.method("IG", 1, 1)
    assert str(one) == "IG: 0 s so far"
    assert one.share is None


def test_the_last_steps_say_how_long_the_next_ones_take(clock):
    one = Standing("a session", "Explain")
    one.begin(100)
    clock(1)
    one.advance(50)  # a curvature
    assert one.left == 1.0
    for _ in range(3):  # masked passes
        clock(10)
        one.advance(5)
    assert (one.share, one.left) == (0.65, 70.0)


def test_parts_are_kept_until_another_method_begins(clock):
    one = Standing(None, "Explain")
    one.method("HETA", 1, 2)
    one.begin(3)
    one.advance(3)
    one.parts(torch.ones(1, 4))
    one.begin(10)
    clock(4)
    one.advance(5)
    assert one.scores.shape == (1, 4)
    assert str(one) == "HETA (1 of 2), what is in the parts that matter: 50%, about 4 s left, or less"
    one.method("IG", 2, 2)
    assert one.scores is None


def test_steps_without_a_beginning_are_nothing():
    one = Standing(None, "Explain")
    one.advance(3)
    assert one.share is None
    one.begin(0)
    assert one.share is None
    assert one.left is None
