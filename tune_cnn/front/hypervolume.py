"""How much a front has reached: its hypervolume against a reference point fixed once per study.

Unit: the product over the objectives of what a point gains on the reference: for a share of correct answers, that
share itself (the reference is 0); for times and other LOG metrics, decades; for percentages, shares of 100; for other
LINEAR metrics, their own unit. With accuracy and time, 0.9 reached a hundred times faster than the reference alone
gives 1.8. Two studies compare where objectives and reference are the same.
"""

from collections.abc import Mapping, Sequence

import moocore
import numpy as np

from tune_cnn.front.dominance import LOG_FLOOR, costs, front, objective_matrix, raw_values, scaled
from tune_cnn.metrics import Direction, EpochPoint, Metric, Scale

# The first points see little of a space: a trial ten times slower than all of them still counts.
LOG_MARGIN = 10.0


def reference_point(points: Sequence[EpochPoint], objectives: Sequence[Metric]) -> dict[str, float]:
    """The point, in the metrics' own units, beyond which nothing counts; {} where no point is usable.

    Meant to be taken once, when a study's first trials have ended (a trial's first epochs say little of how long the
    last ones take), and stored. Worst possible where there is such a thing: accuracy 0, utilisation 0 %, 100 % for a
    percentage to be minimised. LOG metrics: ten times worse than the worst seen. Other LINEAR ones: as far beyond the
    worst as the best lies before it.
    """
    values_nk = raw_values(points, [m.name for m in objectives])
    values_nk = values_nk[~np.isnan(values_nk).any(axis=1)]
    if not len(values_nk):
        return {}
    return _reference(values_nk.min(axis=0), values_nk.max(axis=0), objectives)


def _reference(low_k: np.ndarray, high_k: np.ndarray, objectives: Sequence[Metric]) -> dict[str, float]:
    return {m.name: _worst(m, float(low), float(high)) for m, low, high in zip(objectives, low_k, high_k, strict=True)}


def _worst(m: Metric, low: float, high: float) -> float:
    more_is_better = m.direction is Direction.MAX
    if m.scale is Scale.ERROR:
        return 0.0 if more_is_better else 1.0
    if m.scale is Scale.LOG:
        return max(low, LOG_FLOOR) / LOG_MARGIN if more_is_better else max(high, LOG_FLOOR) * LOG_MARGIN
    if m.unit == "%" and low >= 0 and (more_is_better or high <= 100):
        return 0.0 if more_is_better else 100.0
    worst = low if more_is_better else high
    margin = (high - low) or abs(worst) or 1.0
    return worst - margin if more_is_better else worst + margin


def hypervolume(points: Sequence[EpochPoint], objectives: Sequence[Metric], reference: Mapping[str, float]) -> float:
    """What these points reach together (unit: see the module); points beyond the reference add nothing."""
    gains_nk = _gains(points, objectives, reference)
    return volume(gains_nk) if len(gains_nk) else 0.0


def contributions(
    points: Sequence[EpochPoint], objectives: Sequence[Metric], reference: Mapping[str, float]
) -> list[float]:
    """For each point, the hypervolume that would go with it; 0 off the front and for later duplicates."""
    on_front = front(points, objectives)
    gains_fk = _gains(on_front, objectives, reference)
    inside = [p for p, gains_k in zip(on_front, gains_fk, strict=True) if (gains_k > 0).all()]
    if not inside:
        return [0.0] * len(points)
    gains_fk = gains_fk[(gains_fk > 0).all(axis=1)]
    if gains_fk.shape[1] == 1:
        alone_f = gains_fk[:, 0]
    else:
        alone_f = moocore.hv_contributions(-gains_fk, ref=np.zeros(gains_fk.shape[1]))
    share = {id(p): float(alone) for p, alone in zip(inside, alone_f, strict=True)}
    return [share.pop(id(p), 0.0) for p in points]  # pop: the same object given twice counts once


def gains_of_scaled(scaled_nk: np.ndarray, objectives: Sequence[Metric], reference: Mapping[str, float]) -> np.ndarray:
    """(n, k) what values on their scales gain on the reference, in the module's unit; negative beyond it."""
    gains_nk: np.ndarray = (_scaled_reference(objectives, reference) - scaled_nk) * _units(objectives)
    return gains_nk


def _gains(points: Sequence[EpochPoint], objectives: Sequence[Metric], reference: Mapping[str, float]) -> np.ndarray:
    """(usable points, k) what each point gains on the reference, in the module's unit; negative beyond it."""
    scaled_nk = objective_matrix(points, objectives)
    usable_nk: np.ndarray = scaled_nk[~np.isnan(scaled_nk).any(axis=1)]
    if not len(usable_nk):
        return usable_nk
    return gains_of_scaled(usable_nk, objectives, reference)


def _scaled_reference(objectives: Sequence[Metric], reference: Mapping[str, float]) -> np.ndarray:
    missing = [m.name for m in objectives if m.name not in reference]
    assert not missing, f"the reference point lacks {missing}: it has {sorted(reference)}"
    return scaled(np.array([[reference[m.name] for m in objectives]]), objectives)


def _units(objectives: Sequence[Metric]) -> np.ndarray:
    return np.array([0.01 if m.scale is Scale.LINEAR and m.unit == "%" else 1.0 for m in objectives])


def volume(gains_nk: np.ndarray) -> float:
    """What points with these gains on the reference reach together; those beyond it add nothing."""
    inside_nk = gains_nk[(gains_nk > 0).all(axis=1)]
    if not len(inside_nk):
        return 0.0
    if inside_nk.shape[1] == 1:
        return float(inside_nk.max())
    return float(moocore.hypervolume(-inside_nk, ref=np.zeros(inside_nk.shape[1])))


class FrontTracker:
    """The front of a running search, kept up to date point by point: O(front) for each.

    Without a reference the hypervolume is provisional, measured against the points seen so far (it can fall when a
    slower one comes), until `fix_reference`.
    """

    def __init__(self, objectives: Sequence[Metric], reference: Mapping[str, float] | None = None) -> None:
        assert objectives, "a front needs at least one objective"
        self.objectives = tuple(objectives)
        self._names = [m.name for m in objectives]
        self._fixed = dict(reference) if reference else None
        self._points: list[EpochPoint] = []
        self._costs_fk = np.empty((0, len(objectives)))
        self._low_k = np.full(len(objectives), np.inf)
        self._high_k = np.full(len(objectives), -np.inf)
        self._hypervolume: float | None = 0.0  # None: to be computed when asked for

    def add(self, point: EpochPoint) -> bool:
        """Take a point in; True if it changed the front. One with an unusable objective changes nothing."""
        values_k = raw_values([point], self._names)[0]
        if np.isnan(values_k).any():
            return False
        self._widen(values_k)
        costs_k = costs(values_k[None], self.objectives)[0]
        as_good_f = (self._costs_fk <= costs_k).all(axis=1)
        if as_good_f.any():
            return self._earlier_duplicate(point, costs_k, as_good_f)
        keep_f = ~(self._costs_fk >= costs_k).all(axis=1)
        self._points = [p for p, keep in zip(self._points, keep_f, strict=True) if keep] + [point]
        self._costs_fk = np.concatenate((self._costs_fk[keep_f], costs_k[None]))
        self._hypervolume = None
        return True

    def _widen(self, values_k: np.ndarray) -> None:
        if ((values_k >= self._low_k) & (values_k <= self._high_k)).all():
            return
        self._low_k = np.minimum(self._low_k, values_k)
        self._high_k = np.maximum(self._high_k, values_k)
        if self._fixed is None:
            self._hypervolume = None

    def _earlier_duplicate(self, point: EpochPoint, costs_k: np.ndarray, as_good_f: np.ndarray) -> bool:
        """Of equal points the earliest stands for all, in whichever order they came (as in `front`)."""
        at = int(np.flatnonzero(as_good_f)[0])  # if one is equal, no other of the front is as good
        held = self._points[at]
        if (self._costs_fk[at] != costs_k).any() or (held.trial, held.epoch) <= (point.trial, point.epoch):
            return False
        self._points[at] = point
        return True

    @property
    def points(self) -> list[EpochPoint]:
        """The front so far, in `front`'s order."""
        return front(self._points, self.objectives)

    @property
    def reference(self) -> dict[str, float]:
        """The reference point, fixed or provisional; {} before the first usable point."""
        if self._fixed is not None:
            return dict(self._fixed)
        return _reference(self._low_k, self._high_k, self.objectives) if self._points else {}

    @property
    def reference_is_fixed(self) -> bool:
        return self._fixed is not None

    def fix_reference(self, reference: Mapping[str, float] | None = None) -> dict[str, float]:
        """Keep this reference, or the present one, from now on, and return it to be stored.

        {} (and not fixed) with no point yet and none given.

        To be called once, when the study's first trials have ended.
        """
        if self._fixed is None and (reference or self._points):
            self._fixed = dict(reference) if reference else self.reference
            self._hypervolume = None
        return self.reference

    @property
    def hypervolume(self) -> float:
        if self._hypervolume is None:
            self._hypervolume = hypervolume(self._points, self.objectives, self.reference)
        return self._hypervolume
