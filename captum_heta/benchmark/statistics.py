"""Means over examples with bootstrap intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

RESAMPLES = 10_000


class Interval(NamedTuple):
    """A mean and its 95% interval; NaN where there is no value, and no interval from one.

    Attributes:
        mean: of the values.
        low: the 2.5% quantile of the means of resamples.
        high: the 97.5% quantile.
        n: how many values.
    """

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Cell:
    """One metric of one row on one data set.

    Attributes:
        data: the data set.
        method: the row.
        metric: short name of the metric.
        value: mean over examples.
        difference: mean of the differences to the first row, on the examples where both have a value.
        to_random: the mean over that of random scores, on the examples where both have a value; NaN without them.
    """

    data: str
    method: str
    metric: str
    value: Interval
    difference: Interval
    to_random: float


def mean_interval(values: Sequence[float], seed: int = 0) -> Interval:
    """The mean of values, one an example, and the percentile bootstrap of it (Efron 1979).

    Args:
        values: any number of them.
        seed: of the resamples, which are the same for samples of one size.
    """
    sample = np.asarray(values, dtype=float)
    if len(sample) == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    if len(sample) == 1:
        return Interval(float(sample[0]), float("nan"), float("nan"), 1)
    places = np.random.default_rng(seed).integers(len(sample), size=(RESAMPLES, len(sample)))
    low, high = np.quantile(sample[places].mean(1), (0.025, 0.975))
    return Interval(float(sample.mean()), float(low), float(high), len(sample))
