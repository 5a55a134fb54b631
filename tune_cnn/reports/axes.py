"""Axes with round numbers, for terminals and figures."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_MARGIN = 0.06  # of the axis, so that the extreme points stand clear of the frame


@dataclass(frozen=True, kw_only=True)
class Axis:
    title: str
    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """Where a value lies: 0 at `low`, 1 at `high`."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return (value - low) / (high - low)

    def ticks(self, most: int) -> list[float]:
        """At most so many round numbers on the axis, and as many as there are for that."""
        ends: list[float] = []
        for step in _log_steps(self.low, self.high) if self.log else _linear_steps(self.low, self.high):
            if 2 <= len(step) <= most:
                return step
            ends = [step[0], step[-1]] if len(step) >= 2 else ends
        return ends[: max(most, 0)]


def axis(title: str, values: Sequence[float], *, log: bool) -> Axis:
    """An axis that shows all the values with a margin; logarithmic only where all are positive."""
    log = log and min(values) > 0
    low, high = (math.log(v) if log else v for v in (min(values), max(values)))
    margin = (high - low) * _MARGIN or abs(high) * _MARGIN or 1.0
    low, high = low - margin, high + margin
    return Axis(title=title, low=math.exp(low) if log else low, high=math.exp(high) if log else high, log=log)


def _linear_steps(low: float, high: float) -> Iterable[list[float]]:
    """Ticks of ever wider round steps."""
    first = math.floor(math.log10((high - low) / 20))
    for power in range(first, first + 3):
        for factor in (1, 2, 5):
            step = factor * 10.0**power
            yield [round(k * step, 12) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _log_steps(low: float, high: float) -> Iterable[list[float]]:
    """Ticks per decade, from many to few; round linear steps where the axis spans less than two of them."""
    decades = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    for factors in (range(1, 10), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        yield [f * 10.0**d for d in decades for f in factors if low <= f * 10.0**d <= high]
    if high / low < 10:
        yield from _linear_steps(low, high)
    for every in range(2, 10):
        yield [10.0**d for d in decades if d % every == 0 and low <= 10.0**d <= high]
