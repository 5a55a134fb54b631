"""Differences in pairs with the same seed: paired t-tests, Holm's correction, and what so few seeds could show at all.

Holm, "A simple sequentially rejective multiple test procedure", 1979, https://www.jstor.org/stable/4615733.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy import special

from tune_cnn.front.comparison.intervals import rounding, spread, student
from tune_cnn.front.prediction import LEVEL, by_factors
from tune_cnn.metrics import Metric

POWER = 0.8  # how often a true difference of the size `detectable` would be seen


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A cell against the baseline, over the seeds that both have."""

    by_factor: bool  # `value` is a ratio, to be held against 1; else a difference, against 0
    value: float
    low: float | None
    high: float | None
    p: float | None  # of the paired t-test; None: one pair has no spread
    p_holm: float | None = None  # corrected for all that were compared with it
    detectable: float | None  # the smallest true difference that this many pairs show 8 times in 10; a ratio likewise
    n: int

    @property
    def is_sure(self) -> bool:
        return self.p_holm is not None and self.p_holm < 1 - LEVEL

    def as_dict(self) -> dict[str, float | str | bool | None]:
        return {
            "kind": "ratio" if self.by_factor else "difference", "value": self.value, "low": self.low,
            "high": self.high, "p": self.p, "p_holm": self.p_holm, "detectable": self.detectable, "n": self.n,
        }  # fmt: skip


def difference(
    values: Sequence[float],
    baseline: Sequence[float],
    metric: Metric | None,
    *,
    resolution: float = 0.0,
    compared: int = 1,
) -> Difference:
    """Of values over the baseline's with the same seeds, in the same order; at least one pair.

    `compared`: how many differences are corrected for together. The smallest that could be shown then is the smallest
    at Holm's first step, where one has to be surest.
    """
    assert len(values) == len(baseline) >= 1, "each value has its partner"
    by_factor = by_factors([*values, *baseline], metric)
    of = math.log if by_factor else float
    steps = [of(one) - of(other) for one, other in zip(values, baseline, strict=True)]
    least = 0.0 if by_factor else rounding(resolution) * math.sqrt(2)  # both are rounded
    found = student(steps, least_std=least)
    back = math.exp if by_factor else float
    return Difference(
        by_factor=by_factor,
        value=back(found.mean),
        low=None if found.low is None else back(found.low),
        high=None if found.high is None else back(found.high),
        p=_p(steps, least),
        detectable=None if (least_seen := _detectable(steps, least, compared)) is None else back(least_seen),
        n=len(steps),
    )


def _p(steps: Sequence[float], least_std: float) -> float | None:
    """Two-sided, that the mean is zero; 1 where nothing differs at all."""
    n, mean = len(steps), math.fsum(steps) / len(steps)
    if n < 2:
        return None
    std = spread(steps, least_std)
    if std == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * special.stdtr(n - 1, -abs(mean) / std * math.sqrt(n)))


def _detectable(steps: Sequence[float], least_std: float, compared: int) -> float | None:
    n = len(steps)
    return None if n < 2 else smallest_shown(spread(steps, least_std), n, compared=compared)


def smallest_shown(std: float, n: int, *, compared: int = 1, power: float = POWER) -> float:
    """The true mean difference that n pairs with this standard deviation show with that probability.

    By the noncentral t: the noncentrality at which the test's statistic passes its critical value so often. (The other
    tail, which would show the difference with the wrong sign, is less than one in a million then.)
    """
    critical = special.stdtrit(n - 1, 1 - (1 - LEVEL) / compared / 2)
    return float(special.nctdtrinc(n - 1, 1 - power, critical) * std / math.sqrt(n))


def holm(differences: Sequence[Difference]) -> list[Difference]:
    """The same with their p corrected: step by step from the smallest, so that one false alarm in all is 5 % likely."""
    known = sorted(
        (at for at, one in enumerate(differences) if one.p is not None), key=lambda at: differences[at].p or 0
    )
    corrected, running = list(differences), 0.0
    for rank, at in enumerate(known):
        p = differences[at].p
        assert p is not None, "those without are left out"
        running = max(running, min(1.0, (len(known) - rank) * p))
        corrected[at] = replace(differences[at], p_holm=running)
    return corrected
