"""A front carried to another type of accelerator: times from probes there, accuracy as it is, each with its doubt.

What a training step computes doesn't depend on the card, up to the order of sums, so what a configuration learns is
carried; what a step takes is measured there. The doubt of a time is a prediction interval over the probes' logarithms
(Hahn & Meeker, "Statistical Intervals", 1991, 4.7), widened by an allowance for what twenty steps don't show of a
training: clocks that fall as the card warms up, the node's other work.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tune_cnn.front.dominance import costs, front
from tune_cnn.front.prediction import LEVEL, Prediction, student_quantile
from tune_cnn.metrics import EpochPoint, Metric

ALLOWANCE = 0.15  # of a time, each way
DRAWS = 10_000  # a chance is then off by 0.5 % (one standard deviation) at most
NORMAL = 1.96  # standard deviations to either end of a normal distribution's 95 % interval
SYMMETRIC = 1e-6  # of the logarithms of an interval's two halves: then it was made on that scale


@dataclass(frozen=True, kw_only=True)
class Carried:
    """A metric's value there; low and high are None where its doubt is not known."""

    value: float
    low: float | None = None
    high: float | None = None

    def as_dict(self) -> dict[str, float | None]:
        return {"value": self.value, "low": self.low, "high": self.high}


def carried_time(predicted_s: Sequence[float], *, allowance: float = ALLOWANCE) -> Carried:
    """From what each probe alone would predict, all more than 0; of a single one, whose spread is not known, no more
    than the allowance."""
    assert len(predicted_s) and min(predicted_s) > 0, "a time needs a probe"
    logs, n = [math.log(seconds) for seconds in predicted_s], len(predicted_s)
    center = math.fsum(logs) / n
    reach = 0.0
    if n > 1:
        reach = student_quantile(0.5 + LEVEL / 2, n - 1) * float(np.std(logs, ddof=1)) * math.sqrt(1 + 1 / n)
    low, high = math.exp(center - reach) / (1 + allowance), math.exp(center + reach) * (1 + allowance)
    return Carried(value=math.exp(center), low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How far runs of one configuration over several seeds lie apart, from all that were confirmed."""

    std: float
    degrees: int  # of freedom


def pooled(values: Sequence[Sequence[float]]) -> Spread | None:
    """From the values of one metric, a sequence a candidate; None where none has two runs."""
    several = [of for of in values if len(of) > 1]
    degrees = sum(len(of) - 1 for of in several)
    if not degrees:
        return None
    squares = math.fsum(float(np.var(of, ddof=1)) * (len(of) - 1) for of in several)
    return Spread(std=math.sqrt(squares / degrees), degrees=degrees)


def carried_value(value: float, confirmed: Prediction | None, spread: Spread | None) -> Carried:
    """What doesn't change with the card: a confirmed point's mean and interval; of one that was searched once, its
    value, and the others' spread around it twice, for its own luck and a fresh run's."""
    if confirmed is not None:
        return Carried(value=confirmed.mean, low=confirmed.low, high=confirmed.high)
    if spread is None:
        return Carried(value=value)
    reach = student_quantile(0.5 + LEVEL / 2, spread.degrees) * spread.std * math.sqrt(2)
    return Carried(value=value, low=value - reach, high=value + reach)


def chosen(
    points: Sequence[EpochPoint], objectives: Sequence[Metric], cost_of: Mapping[int, str], most: int
) -> list[EpochPoint]:
    """The points that may stand on the front there: of each cost that is probed, those that no other of it beats.

    Costs are those of the front, all of them, and of what lies behind it, front by front, until there are `most`: what
    is slow here in half precision may be fast there. Points of one cost keep their order on any card. `cost_of`: what a
    trial costs, as a key that trials of the same cost share.
    """
    left, keys = list(points), set[str]()
    every = {cost_of[point.trial] for point in points}
    while layer := front(left, objectives) if not keys or len(keys) < min(most, len(every)) else []:
        is_first = not keys
        for point in layer:
            if is_first or len(keys) < most:
                keys.add(cost_of[point.trial])
        gone = {(p.trial, p.epoch) for p in layer}
        left = [p for p in left if (p.trial, p.epoch) not in gone]
    return [p for key in sorted(keys) for p in front([q for q in points if cost_of[q.trial] == key], objectives)]


def front_chances(rows: Sequence[Mapping[str, Carried]], objectives: Sequence[Metric]) -> list[float]:
    """How often each is dominated by no other, its objectives drawn from their doubt; a value without one stands.

    Intervals are taken for those of a normal distribution, of the logarithm where a metric is positive over decades.
    """
    rng = np.random.default_rng(0)  # the same at every look
    drawn_dnk = np.stack([np.stack([_drawn(row[m.name], rng) for m in objectives], axis=1) for row in rows], axis=1)
    costs_dnk = costs(drawn_dnk, objectives)
    chances = []
    for at in range(len(rows)):
        mine_d1k = costs_dnk[:, at : at + 1]
        beaten_dn = np.logical_and((costs_dnk <= mine_d1k).all(axis=2), (costs_dnk < mine_d1k).any(axis=2))
        chances.append(1.0 - float(np.any(beaten_dn, axis=1).mean()))
    return chances


def _drawn(carried: Carried, rng: np.random.Generator) -> np.ndarray:
    low, value, high = carried.low, carried.value, carried.high
    if low is None or high is None:
        return np.full(DRAWS, value)
    z_d = rng.standard_normal(DRAWS) / NORMAL
    if low > 0 and high / low > 1 and abs(math.log(high / value) + math.log(low / value)) < SYMMETRIC:
        drawn_d: np.ndarray = value * np.exp(z_d * math.log(high / low) / 2)
        return drawn_d
    return value + np.where(z_d > 0, z_d * (high - value), z_d * (value - low))
