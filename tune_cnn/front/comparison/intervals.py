"""Where a mean lies, from a few runs: 95 % confidence intervals by Student's t, of times and losses by factors.

Unlike a prediction interval (`front.prediction`), which holds one fresh run, a confidence interval holds the mean.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tune_cnn.front.prediction import LEVEL, by_factors, possible, student_quantile
from tune_cnn.metrics import Metric


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with the ends of its interval; None where one value shows no spread."""

    mean: float
    low: float | None = None
    high: float | None = None
    n: int

    @property
    def reach(self) -> float | None:
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    def excludes(self, value: float) -> bool:
        return self.low is not None and self.high is not None and not self.low <= value <= self.high

    def as_dict(self) -> dict[str, float | None]:
        return {"mean": self.mean, "low": self.low, "high": self.high}


def student(values: Sequence[float], *, least_std: float = 0.0) -> Interval:
    """mean ± t · s / sqrt(n). `least_std`: no spread is taken to be smaller, as that of rounding."""
    n, mean = len(values), math.fsum(values) / len(values)
    if n < 2:
        return Interval(mean=mean, n=n)
    reach = student_quantile(0.5 + LEVEL / 2, n - 1) * spread(values, least_std) / math.sqrt(n)
    return Interval(mean=mean, low=mean - reach, high=mean + reach, n=n)


def spread(values: Sequence[float], least_std: float = 0.0) -> float:
    """Standard deviation with n - 1."""
    return max(float(np.std(values, ddof=1)), least_std)


def mean_of(values: Sequence[float], metric: Metric | None, *, resolution: float = 0.0) -> Interval:
    """The mean of a metric's runs, all finite, at least one. A quantity over decades has a geometric one.

    `resolution`: the steps that the metric comes in, such as one image in all for an accuracy.
    """
    if by_factors(values, metric):
        found = student([math.log(value) for value in values])
        ends = {name: None if of is None else math.exp(of) for name, of in (("low", found.low), ("high", found.high))}
        return Interval(mean=math.exp(found.mean), n=found.n, **ends)
    found = student(values, least_std=rounding(resolution))
    if found.low is None or found.high is None:
        return found
    floor, ceiling = possible(metric)
    return Interval(mean=found.mean, low=max(found.low, floor), high=min(found.high, ceiling), n=found.n)


def rounding(step: float) -> float:
    """Standard deviation of what rounding to steps takes away."""
    return step / math.sqrt(12)
