"""Bounds on metrics: which epoch points meet them, and how near the others come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from tune_cnn.front.dominance import raw_values
from tune_cnn.metrics import METRICS, EpochPoint, Metric

P = TypeVar("P", bound=EpochPoint)


@dataclass(frozen=True, kw_only=True)
class Bound:
    """One side of one metric; the limit itself is inside."""

    metric: str
    limit: float
    at_most: bool  # else at least

    def says(self, unit: str) -> str:
        return f"{self.metric} {'<=' if self.at_most else '>='} {_amount(self.limit, unit)}"


def bounds_of(constraints: Mapping[str, Mapping[str, float]]) -> list[Bound]:
    """{"peak_memory_mib": {"max": 20000}} as bounds; a metric may have both sides."""
    return [
        Bound(metric=name, limit=float(limit), at_most=side == "max")
        for name, sides in constraints.items()
        for side, limit in sides.items()
    ]


def feasible(points: Sequence[P], constraints: Mapping[str, Mapping[str, float]]) -> list[P]:
    """The points that meet every constraint, in their order; one that lacks the metric can't be shown to meet it."""
    return within(points, bounds_of(constraints))


def within(points: Sequence[P], bounds: Sequence[Bound]) -> list[P]:
    """The points that meet every bound, in their order."""
    if not bounds:
        return list(points)
    return [points[i] for i in np.flatnonzero((_misses(points, bounds) == 0).all(axis=1)).tolist()]


def _misses(points: Sequence[EpochPoint], bounds: Sequence[Bound]) -> np.ndarray:
    """(n, b) by how much each point misses each bound, in the metric's unit: 0 where met, inf where not measured."""
    values_nb = raw_values(points, [b.metric for b in bounds])
    limits_b = np.array([b.limit for b in bounds])
    sign_b = np.array([1.0 if b.at_most else -1.0 for b in bounds])
    return np.where(np.isnan(values_nb), np.inf, np.maximum((values_nb - limits_b) * sign_b, 0.0))


def nothing_feasible(
    points: Sequence[EpochPoint],
    constraints: Mapping[str, Mapping[str, float]],
    known: Mapping[str, Metric] | None = None,
) -> str | None:
    """The sentence to say where no point meets the constraints, with the nearest; None where one does.

    `known`: the user's own metrics, for their units.
    """
    bounds = bounds_of(constraints)
    return None if within(points, bounds) else none_within(points, bounds, known)


def none_within(
    points: Sequence[EpochPoint], bounds: Sequence[Bound], known: Mapping[str, Metric] | None = None
) -> str:
    """What no point meets, and of the nearest point which bounds it misses by how much.

    Nearest: the smallest worst miss, each relative to its limit, so that seconds and shares compare.
    """
    units = {name: m.unit for name, m in {**METRICS, **(known or {})}.items()}
    wanted = " and ".join(b.says(units.get(b.metric, "")) for b in bounds)
    if not points:
        return f"no epoch point yet, so none with {wanted}"
    misses_nb = _misses(points, bounds)
    unmeasured = sorted({b.metric for b, miss_n in zip(bounds, misses_nb.T, strict=True) if np.isinf(miss_n).all()})
    if unmeasured:
        return f"no epoch point has {wanted}: {' and '.join(unmeasured)} was measured at none of the {len(points)}"
    limits_b = np.array([abs(b.limit) or 1.0 for b in bounds])
    relative_nb = misses_nb / limits_b
    order = np.lexsort(
        ([p.epoch for p in points], [p.trial for p in points], relative_nb.sum(axis=1), relative_nb.max(axis=1))
    )
    near = points[order[0]]
    missed = " and ".join(
        _missed(near, b, miss, units.get(b.metric, ""))
        for b, miss in zip(bounds, misses_nb[order[0]], strict=True)
        if miss > 0
    )
    return (
        f"none of {len(points)} epoch points has {wanted}; "
        f"the nearest, trial {near.trial} at epoch {near.epoch}, misses by {missed}"
    )


def _missed(point: EpochPoint, bound: Bound, miss: float, unit: str) -> str:
    if np.isinf(miss):
        return f"{bound.metric}, which was not measured there"
    side = "above" if bound.at_most else "below"
    value = _amount(point.metrics[bound.metric], unit)
    return f"{bound.metric} = {value}, {_amount(miss, unit)} {side} the bound"


def _amount(value: float, unit: str) -> str:
    return f"{value:.6g}" if unit in ("", "1") else f"{value:.6g} {unit}"
