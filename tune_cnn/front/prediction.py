"""What a fresh run will give, from a few runs over different seeds: mean, spread and 95 % prediction interval.

A prediction interval holds one further run, not the mean: mean ± t · s · sqrt(1 + 1/n), with Student's t of n - 1
degrees of freedom (Hahn & Meeker, "Statistical Intervals", 1991, 4.7). Quantities over decades (times, energy, memory,
losses) are predicted on the log scale: what disturbs a time disturbs it by a factor, its distribution leans to the slow
side, and no interval reaches below zero. Shares and other metrics are predicted as they are, within what they can be.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tune_cnn.front.dominance import costs
from tune_cnn.metrics import METRICS, Metric, Scale

LEVEL = 0.95
DRAWS = 10_000  # a probability is then off by 0.5 % (one standard deviation) at most
SHARES = {"gpu_util_pct", "sm_active_pct", "grad_underflow_pct"}  # of a whole: 0 to 100 %


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A metric over `runs` seeds, in its own unit; one run has no spread, so std, low and high are None."""

    mean: float
    std: float | None  # of the runs, with n - 1
    low: float | None  # a fresh run lies between low and high 95 times in 100
    high: float | None
    runs: int

    def holds(self, value: float) -> bool | None:
        """Whether a value lies in the interval; None where there is no interval."""
        return None if self.low is None or self.high is None else self.low <= value <= self.high

    def as_dict(self) -> dict[str, float | None]:
        return {"mean": self.mean, "std": self.std, "low": self.low, "high": self.high}


def predict(values: Sequence[float], metric: Metric | None = None, *, resolution: float = 0.0) -> Prediction:
    """From the values of one metric over the runs; all finite, at least one. `metric`: None for an unknown one.

    `resolution`: the steps that the metric comes in, such as one image in all for an accuracy. Runs that agree to a
    step may still differ by less, so no spread is taken to be smaller than that of rounding, a step over sqrt(12).
    """
    assert len(values) and all(map(math.isfinite, values)), "a prediction needs finite values"
    n, mean = len(values), math.fsum(values) / len(values)
    if n == 1:
        return Prediction(mean=mean, std=None, low=None, high=None, runs=1)
    log = by_factors(values, metric)
    center, reach = _spread([math.log(v) for v in values], 0.0) if log else _spread(values, resolution)
    reach *= student_quantile(0.5 + LEVEL / 2, n - 1)
    if log:
        low, high = math.exp(center - reach), _exp(center + reach)
    else:
        floor, ceiling = possible(metric)
        low, high = max(center - reach, floor), min(center + reach, ceiling)
    return Prediction(mean=mean, std=float(np.std(values, ddof=1)), low=low, high=high, runs=n)


def by_factors(values: Sequence[float], metric: Metric | None) -> bool:
    """On the log scale; a value of zero (nothing to wait for, nothing compiled) has no logarithm."""
    return metric is not None and metric.scale is Scale.LOG and min(values) > 0


def _spread(values: Sequence[float], resolution: float) -> tuple[float, float]:
    """Mean, and the standard deviation of a further value around it."""
    n = len(values)
    std = max(float(np.std(values, ddof=1)), resolution / math.sqrt(12))
    return math.fsum(values) / n, std * math.sqrt(1 + 1 / n)


def _exp(power: float) -> float:
    return math.exp(power) if power < 700 else sys.float_info.max  # a number in JSON, too


def possible(metric: Metric | None) -> tuple[float, float]:
    """What the metric can't go beyond; the table's are all positive, of the users' own nothing is known."""
    if metric is None or metric.name not in METRICS:
        return -math.inf, math.inf
    if metric.scale is Scale.ERROR:
        return 0.0, 1.0
    return 0.0, 100.0 if metric.name in SHARES else math.inf


def front_probabilities(
    candidates: Sequence[Mapping[str, Sequence[float]]],
    objectives: Sequence[Metric],
    *,
    rng: np.random.Generator,
    failing: Sequence[float] | None = None,
    resolutions: Mapping[str, float] | None = None,
) -> list[float | None]:
    """For each candidate (its values by objective over the runs), how often its fresh run ends and is dominated by no
    other's.

    Monte Carlo over the predictive distributions of all candidates, objectives independent of each other given the
    configuration (a few runs can't tell how they hang together). `failing`: the share of each one's runs that failed:
    so often a fresh one gives nothing, and stands in nobody's way. A candidate with a single run has no spread: None,
    and beside the others it stands where that run was.
    """
    costs_dmk = np.empty((DRAWS, len(candidates), len(objectives)))
    for at, values in enumerate(candidates):
        steps = {m.name: (resolutions or {}).get(m.name, 0.0) for m in objectives}
        drawn_dk = np.stack([_draws(values[m.name], m, steps[m.name], rng, DRAWS) for m in objectives], axis=1)
        costs_dmk[:, at] = costs(drawn_dk, objectives)
    for at, share in enumerate(failing or []):
        if share > 0:
            costs_dmk[rng.random(DRAWS) < share, at] = np.inf
    lost_dm = np.any(np.isinf(costs_dmk), axis=2)
    on_front = [1.0 - float((_beaten(costs_dmk, at) | lost_dm[:, at]).mean()) for at in range(len(candidates))]
    alone = [any(len(values[m.name]) < 2 for m in objectives) for values in candidates]
    return [None if one else chance for one, chance in zip(alone, on_front, strict=True)]


def _beaten(costs_dmk: np.ndarray, at: int) -> np.ndarray:
    """(draws,) whether another candidate dominates this one there."""
    mine_d1k = costs_dmk[:, at : at + 1]
    as_good_dm = (costs_dmk <= mine_d1k).all(axis=2)
    better_dm = (costs_dmk < mine_d1k).any(axis=2)
    return np.asarray(np.any(as_good_dm & better_dm, axis=1))


def _draws(
    values: Sequence[float], metric: Metric, resolution: float, rng: np.random.Generator, draws: int
) -> np.ndarray:
    """Values of so many fresh runs; of a single run that was, its value."""
    if len(values) == 1:
        return np.full(draws, values[0])
    log = by_factors(values, metric)
    center, reach = _spread([math.log(v) for v in values], 0.0) if log else _spread(values, resolution)
    drawn_d = center + reach * rng.standard_t(len(values) - 1, size=draws)
    if log:
        return np.exp(np.minimum(drawn_d, 700.0))
    return np.clip(drawn_d, *possible(metric))


def student_quantile(probability: float, degrees: int) -> float:
    """Student's t that a share `probability` (0.5 to 1) of its distribution lies under."""
    assert degrees >= 1 and 0.5 <= probability < 1
    low, high = 0.0, math.pi / 2
    for _ in range(60):  # halvings: to the last bits of a double
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < 2 * probability - 1 else (low, middle)
    return math.tan((low + high) / 2) * math.sqrt(degrees)


def _within(angle: float, degrees: int) -> float:
    """Share of Student's t within ± tan(angle) · sqrt(degrees): Abramowitz & Stegun, 26.7.3 and 26.7.4."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2 == 1
    term = total = cosine if odd else 1.0
    for k in range(3 if odd else 2, degrees - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    if not odd:
        return sine * total
    return 2 / math.pi * (angle + (sine * total if degrees > 1 else 0.0))
