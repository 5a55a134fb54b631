"""How a distance goes with the place in a ranking: rank correlation, means of parts, and intervals by the bootstrap.

Efron, "Bootstrap methods: another look at the jackknife", 1979, https://doi.org/10.1214/aos/1176344552. What is drawn
again are mini-batches: an interval says how far other mini-batches of the same ranking could have led, and nothing of
another training.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tune_cnn.reports.gradients_report import Interval

Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

DRAWS = 2000
SEED = 0  # the same records give the same page
LEVEL = (2.5, 97.5)  # %
FEWEST = 4  # mini-batches that a correlation needs, and twice as many that ten parts need


def rank_correlation(some: Sequence[float] | Float64, others: Sequence[float] | Float64) -> float:
    """Spearman's; equal values share the mean of their ranks. 0 where one side has one value alone."""
    one, other = _ranks(np.asarray(some, dtype=np.float64)), _ranks(np.asarray(others, dtype=np.float64))
    one, other = one - one.mean(), other - other.mean()
    length = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum() / length) if length > 0 else 0.0


def correlation(some: Float64, others: Float64) -> Interval:
    """The rank correlation, its interval over pairs drawn again."""
    value = rank_correlation(some, others)
    if len(some) < FEWEST:
        return Interval(value=value, low=None, high=None)
    random = np.random.default_rng(SEED)
    drawn = [random.integers(len(some), size=len(some)) for _ in range(DRAWS // 2)]
    return interval_of(value, [rank_correlation(some[which], others[which]) for which in drawn])


def mean(values: Float64) -> Interval:
    if len(values) < 2:
        return Interval(value=float(values.mean()), low=None, high=None)
    return interval_of(float(values.mean()), drawn_means(values, np.random.default_rng(SEED)))


def difference(inside: Float64, outside: Float64) -> Interval:
    """The mean of some less that of others; each side is drawn again by itself."""
    value = float(inside.mean() - outside.mean())
    if min(len(inside), len(outside)) < 2:
        return Interval(value=value, low=None, high=None)
    random = np.random.default_rng(SEED)
    return interval_of(value, drawn_means(inside, random) - drawn_means(outside, random))


def ratio(some: Float64, others: Float64) -> Interval:
    """The mean of some over that of others, as `difference`."""
    value = float(some.mean() / others.mean())
    if min(len(some), len(others)) < 2:
        return Interval(value=value, low=None, high=None)
    random = np.random.default_rng(SEED)
    return interval_of(value, drawn_means(some, random) / drawn_means(others, random))


def parts(count: int) -> list[slice]:
    """Ten equal parts of so many mini-batches in their order; four where ten would be of less than two each."""
    edges = np.linspace(0, count, (10 if count >= 20 else min(4, count)) + 1).round().astype(int).tolist()
    return [slice(begin, end) for begin, end in pairwise(edges)]


def region(count: int, choose: Callable[[float], bool]) -> Bools:
    """Which of so many mini-batches lie, by their middles, where `choose` says; places go from 0 to 1."""
    return np.array([choose((number + 0.5) / count) for number in range(count)], dtype=np.bool_)


def drawn_means(values: Float64, random: np.random.Generator) -> Float64:
    """The means of as many values, drawn again and again from these."""
    drawn: Float64 = values[random.integers(len(values), size=(DRAWS, len(values)))].mean(axis=1)
    return drawn


def interval_of(value: float, drawn: Sequence[float] | Float64) -> Interval:
    """A value with the middle 95 % of what came of the draws."""
    low, high = np.percentile(drawn, LEVEL)
    return Interval(value=value, low=float(low), high=float(high))


def _ranks(values: Float64) -> Float64:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Float64 = (ends - (counts - 1) / 2)[inverse]
    return ranks
