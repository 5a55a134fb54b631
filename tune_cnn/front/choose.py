"""The one epoch point that fits a preference: bounds, or the knee."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tune_cnn.errors import InputError, NothingFits, nearest
from tune_cnn.front.constraints import Bound, none_within, within
from tune_cnn.front.dominance import best_first, costs, front, objective_matrix, raw_values
from tune_cnn.metrics import Direction, EpochPoint, Metric

_WHERE = re.compile(r"\s*([A-Za-z][A-Za-z0-9._-]*)\s*(<=|>=)\s*(\S+)\s*")


@dataclass(frozen=True, kw_only=True)
class Preference:
    """Bounds on any metrics, and whether the knee inside them is wanted rather than the best at one end."""

    max: Mapping[str, float] = field(default_factory=dict)
    min: Mapping[str, float] = field(default_factory=dict)
    knee: bool = False

    def __post_init__(self) -> None:
        for side, limits in (("max", self.max), ("min", self.min)):
            for name, limit in limits.items():
                if not math.isfinite(limit):
                    raise InputError(f"preference: {side} of {name} must be a finite number, got {limit}")
        for name in self.max.keys() & self.min.keys():
            if self.min[name] > self.max[name]:
                raise InputError(
                    f"preference: {name} can't be at least {self.min[name]:g} and at most {self.max[name]:g}; "
                    "drop one of the two bounds"
                )

    @property
    def bounds(self) -> list[Bound]:
        at_least = [Bound(metric=name, limit=limit, at_most=False) for name, limit in self.min.items()]
        return at_least + [Bound(metric=name, limit=limit, at_most=True) for name, limit in self.max.items()]

    def where(self, texts: Iterable[str]) -> "Preference":
        """This preference and further bounds as `parse_where` reads them; of two on one side the tighter holds."""
        most, least = dict(self.max), dict(self.min)
        for text in texts:
            name, sign, limit = parse_where(text)
            if sign == "<=":
                most[name] = min(limit, most.get(name, limit))
            else:
                least[name] = max(limit, least.get(name, limit))
        return replace(self, max=most, min=least)


def parse_where(text: str) -> tuple[str, str, float]:
    """ "peak_memory_mib<=8000" as (metric, "<=" or ">=", value); InputError for anything else."""
    match = _WHERE.fullmatch(text)
    if match is None:
        raise InputError(
            f"--where: must be METRIC<=VALUE or METRIC>=VALUE, got {text!r}; "
            "write for example --where 'peak_memory_mib<=8000', in quotes, as the shell reads < and > itself"
        )
    name, sign, number = match.groups()
    try:
        limit = float(number)
    except ValueError:
        limit = math.nan
    if not math.isfinite(limit):
        raise InputError(f"--where: the bound of {name} must be a finite number in the metric's unit, got {number!r}")
    return name, sign, limit


def choose(
    points: Sequence[EpochPoint],
    objectives: Sequence[Metric],
    preference: Preference,
    *,
    confirmed: Sequence[EpochPoint] = (),
) -> EpochPoint:
    """The epoch point that fits, out of all of a study's: a bound on a metric that is no objective can favour one
    off the front.

    No bounds, or `knee`: the knee of the front of the points inside. Bounds: the best inside them in the first
    objective (a deadline: the most accurate in time; deadline and accuracy: the most accurate inside both); but where
    the first objective is the only one that a bound asks something of, in the second (an accuracy alone: the fastest
    that reaches it). Ties go by the other objectives in turn, then to the earliest.
    `confirmed`: means over several seeds, which stand for the points of their trial and epoch. They go first: one that
    was only searched is chosen where no confirmed one is inside, as what it was worth once was partly luck. The knee is
    then the confirmed point nearest to being that of all that is inside.
    Raises NothingFits, naming the nearest point; InputError for a bound on a metric that no point carries.
    """
    known = {(p.trial, p.epoch) for p in confirmed}
    searched = [p for p in points if (p.trial, p.epoch) not in known]
    usable = _usable([*confirmed, *searched], objectives)
    bounds = preference.bounds
    _refuse_unmeasured(usable, bounds)
    all_inside = within(usable, bounds)
    inside = [p for p in all_inside if (p.trial, p.epoch) in known] or all_inside
    if not inside:
        units = {m.name: m for m in objectives}
        raise NothingFits(
            f"{none_within(usable, bounds, units)}. Loosen that bound, or search on with a larger budget."
        )
    if preference.knee or not bounds:
        return knee(front(inside, objectives), objectives, of=front(all_inside, objectives))
    order = _what_matters(objectives, bounds)
    return _first(inside, order)


def _first(points: Sequence[EpochPoint], objectives: Sequence[Metric]) -> EpochPoint:
    """The best in the first objective, ties by the next ones, then by trial and epoch."""
    ranked: list[int] = best_first(points, costs(raw_values(points, [m.name for m in objectives]), objectives)).tolist()
    return points[ranked[0]]


def _usable(points: Sequence[EpochPoint], objectives: Sequence[Metric]) -> list[EpochPoint]:
    names = [m.name for m in objectives]
    whole = np.flatnonzero(~np.isnan(raw_values(points, names)).any(axis=1))
    if not len(whole):
        raise NothingFits(
            f"nothing to choose from: of {len(points)} epoch points none has finite {' and '.join(names)}. "
            "Search until a trial has ended an epoch."
        )
    return [points[i] for i in whole.tolist()]


def _refuse_unmeasured(points: Sequence[EpochPoint], bounds: Sequence[Bound]) -> None:
    for bound in bounds:
        if not any(bound.metric in p.metrics for p in points):
            carried = sorted({name for p in points for name in p.metrics})
            raise InputError(
                f"preference: no epoch point of this study carries the metric {bound.metric!r}"
                f"{nearest(bound.metric, carried)}"
            )


def _what_matters(objectives: Sequence[Metric], bounds: Sequence[Bound]) -> list[Metric]:
    """The objectives, the one to be best in first. An upper bound on accuracy asks nothing of it, so doesn't count."""
    asked = {
        m.name for m in objectives for b in bounds if b.metric == m.name and b.at_most == (m.direction is Direction.MIN)
    }
    first, *others = objectives
    return [*others, first] if asked == {first.name} else [first, *others]


def knee(
    points: Sequence[EpochPoint], objectives: Sequence[Metric], *, of: Sequence[EpochPoint] | None = None
) -> EpochPoint:
    """Of a front's points, the one farthest from the chord between the front's ends, on the ideal's side.

    On the scales of `objective_matrix`, each objective normalised to 0..1 over the front (after Das, "On characterizing
    the knee of the Pareto curve", Structural Optimization 18, 1999). With k > 2 objectives the chord becomes the plane
    through the k unit points, sum(x) = 1, which for two is the chord; the farthest has the least sum. (A plane through
    the front's own extremes is undefined where one point is best in two objectives.) A bulge away from the ideal is no
    knee. Ties, and so a front of two points, both of them ends, go to the best in the first objective. `of`: the front
    whose ends they are, where `points` are only some of it.
    """
    assert points, "a knee needs a front"
    scaled_fk = objective_matrix(points, objectives)
    ends_fk = scaled_fk if of is None else objective_matrix(of, objectives)
    span_k = np.ptp(ends_fk, axis=0)
    differs_k = span_k > 1e-12 * np.abs(ends_fk).max(axis=0)  # else the same for all, but for rounding
    unit_fk = (scaled_fk - ends_fk.min(axis=0)) / np.where(differs_k, span_k, 1.0)
    distance_f = (1.0 - unit_fk.sum(axis=1)) / math.sqrt(len(objectives))
    farthest = np.flatnonzero(distance_f >= distance_f.max() - 1e-12)  # rounding makes points on one line differ
    tied = [points[i] for i in farthest.tolist()]
    return _first(tied, objectives)
