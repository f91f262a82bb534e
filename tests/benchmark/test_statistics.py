import math

import numpy as np
import pytest

from captum_heta.benchmark.statistics import mean_interval


def test_equal_values_have_no_width():
    assert mean_interval([0.25] * 7) == (0.25, 0.25, 0.25, 7)


def test_one_value_has_no_interval_and_none_no_mean():
    assert mean_interval([2.0])[::3] == (2.0, 1)
    assert all(map(math.isnan, mean_interval([2.0])[1:3]))
    assert all(map(math.isnan, mean_interval([])[:3]))


def test_the_interval_is_that_of_the_normal_distribution():
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    mean, low, high, n = mean_interval(values)
    width = 1.96 * values.std() / math.sqrt(n)
    assert (low, mean, high) == pytest.approx((mean - width, values.mean(), mean + width), abs=0.02)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    draws = np.random.default_rng(2).normal(0.0, 1.0, (200, 40))
    covered = sum(low <= 0 <= high for _, low, high, _ in map(mean_interval, draws))
    assert 0.89 <= covered / 200 <= 0.99
