"""Which epoch points no other beats: the Pareto front, and the scales on which it is measured."""

from collections.abc import Sequence
from typing import TypeVar

import moocore
import numpy as np

from tune_cnn.metrics import Direction, EpochPoint, Metric, Scale

P = TypeVar("P", bound=EpochPoint)

# perf_counter counts in nanoseconds: a smaller (or zero, or negative) time, loss or energy is below what was
# measurable, and its logarithm would give one point an infinite lead.
LOG_FLOOR = 1e-9


def raw_values(points: Sequence[EpochPoint], names: Sequence[str]) -> np.ndarray:
    """(n, k) values in the metrics' own units; NaN where a point lacks one or its value isn't finite."""
    columns = [np.array([p.metrics.get(name) for p in points], dtype=float) for name in names]  # None becomes NaN
    values_nk = np.stack(columns, axis=1) if columns else np.empty((len(points), 0))
    values_nk[~np.isfinite(values_nk)] = np.nan
    return values_nk


def costs(values_nk: np.ndarray, objectives: Sequence[Metric]) -> np.ndarray:
    """Values to be minimised, otherwise untouched: dominance is exact here, where a scale could round two into one."""
    sign_k = np.array([-1.0 if m.direction is Direction.MAX else 1.0 for m in objectives])
    costs_nk: np.ndarray = values_nk * sign_k + 0.0  # + 0.0 turns -0.0 into 0.0
    return costs_nk


def scaled(values_nk: np.ndarray, objectives: Sequence[Metric]) -> np.ndarray:
    """Values in own units to minimised ones on the scales of `Scale`.

    ERROR: 1 - value for a share to be maximised (a share to be minimised is an error already). LOG: log10, so 1 is a
    decade, negated where more is better; floored at `LOG_FLOOR`. LINEAR: the value, negated where more is better.
    """
    scaled_nk = np.array(values_nk, dtype=float)
    for k, m in enumerate(objectives):
        if m.scale is Scale.LOG:
            scaled_nk[:, k] = np.log10(np.maximum(scaled_nk[:, k], LOG_FLOOR))
        if m.direction is Direction.MAX:
            scaled_nk[:, k] = (1.0 if m.scale is Scale.ERROR else 0.0) - scaled_nk[:, k]
    return scaled_nk


def objective_matrix(points: Sequence[EpochPoint], objectives: Sequence[Metric]) -> np.ndarray:
    """(n, k) objectives of the points, all minimised and on their scales; NaN where a point lacks one."""
    return scaled(raw_values(points, [m.name for m in objectives]), objectives)


def best_first(points: Sequence[EpochPoint], costs_nk: np.ndarray) -> np.ndarray:
    """Indices that sort by the first column, ties by the next ones, then by trial and epoch."""
    trials = [p.trial for p in points]
    epochs = [p.epoch for p in points]
    return np.lexsort((epochs, trials, *costs_nk.T[::-1]))  # lexsort's last key is its first


def front(points: Sequence[P], objectives: Sequence[Metric]) -> list[P]:
    """The points that no other dominates, best in the last objective first (with accuracy, time: the fastest first).

    Ties there go by the objective before it, and so on. A point with a missing, NaN or infinite objective is left
    out. Of points with the very same objectives the earliest (lowest trial, then epoch) stands for all.
    """
    assert objectives, "a front needs at least one objective"
    costs_nk = costs(raw_values(points, [m.name for m in objectives]), objectives)
    usable = np.flatnonzero(~np.isnan(costs_nk).any(axis=1))
    if not len(usable):
        return []
    on_front = usable[nondominated(costs_nk[usable])]
    candidates = [points[i] for i in on_front]
    costs_fk = costs_nk[on_front][:, ::-1]
    order = best_first(candidates, costs_fk)
    same_as_previous = np.all(np.diff(costs_fk[order], axis=0) == 0, axis=1)
    return [candidates[i] for i in order[np.concatenate(([True], ~same_as_previous))]]


def nondominated(costs_nk: np.ndarray) -> np.ndarray:
    """(n,) whether no row dominates this one; equal rows stand or fall together."""
    if costs_nk.shape[1] == 1:
        least_n: np.ndarray = costs_nk[:, 0] == costs_nk[:, 0].min()
        return least_n
    return np.asarray(moocore.is_nondominated(costs_nk, keep_weakly=True), dtype=bool)
