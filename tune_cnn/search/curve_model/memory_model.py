"""Which configurations don't fit into memory: learned from the peaks of those that did and from those that didn't."""

from dataclasses import dataclass

import numpy as np

from tune_cnn.front.dominance import nondominated
from tune_cnn.search.curve_model.ridge_regression import RidgeRegression

ENOUGH = 3  # peaks from which a line is drawn
SLIGHT = 0.1  # of the steepest slope: dimensions with less say nothing of memory
RISK = 0.02  # of all trials: as long as fewer were lost, what is only slightly smaller than a failed one is tried


class MemoryModel:
    """A line through the logarithms of the peaks says which way memory grows, and where it ends.

    What by the line needs more than the least of the failed doesn't fit, nor what is as large as a failed one in
    every dimension that matters; all the same it does where something as large in each has fitted, unless one that
    costs the very same failed. The best often lies at the edge, so a long search that lost few trials looks closer: a
    dimension that hardly matters counts as well, and what is smaller than the failed by that much is tried.
    """

    def __init__(self, costly_d: np.ndarray | float = 1.0) -> None:
        """`costly_d`: 1 for a row's columns that can matter, 0 for those that can't: so few peaks say more."""
        self._costly_d = costly_d
        self._fitting: list[tuple[np.ndarray, float | None]] = []  # with the logarithm of the peak, where measured
        self._failed: list[np.ndarray] = []
        self._known: dict[bytes, bool] = {}  # by what can matter of a row: whether it has ever fitted
        self._model: _Learned | None = None

    def fits(self, row_d: np.ndarray, peak_mib: float | None) -> None:
        log_peak = float(np.log(peak_mib)) if peak_mib is not None and peak_mib > 0 else None
        self._fitting.append((row_d * self._costly_d, log_peak))
        self._known[_key(self._fitting[-1][0])] = True
        self._model = None

    def fails(self, row_d: np.ndarray) -> None:
        self._failed.append(row_d * self._costly_d)
        self._known.setdefault(_key(self._failed[-1]), False)
        self._model = None

    def too_large(self, rows_nd: np.ndarray) -> np.ndarray:
        """(n,) whether each is expected not to fit; none is before one has failed."""
        if not self._failed:
            return np.zeros(len(rows_nd), dtype=bool)
        if self._model is None:
            self._model = self._learned()
        rows_nd = rows_nd * self._costly_d
        as_failed_n = np.array([self._known.get(_key(row_d)) is False for row_d in rows_nd], dtype=bool)
        upwards_d = self._model.upwards_d
        if not upwards_d.any():
            return as_failed_n
        size_nk = _size(rows_nd, upwards_d)
        beyond_n = _any_within(self._model.failed_mk, size_nk)
        within_n = _any_within(-self._model.fitting_mk, -size_nk)
        too_large_n: np.ndarray = as_failed_n | (
            ((self._model.regression.at(rows_nd) > self._model.limit) | beyond_n) & ~within_n
        )
        return too_large_n

    def _learned(self) -> "_Learned":
        failed_nd = np.stack(self._failed)
        measured = [(row, peak) for row, peak in self._fitting if peak is not None]
        fitting = [row for row, _ in self._fitting]
        if len(measured) >= ENOUGH:
            regression = RidgeRegression(
                np.stack([row for row, _ in measured]), np.array([peak for _, peak in measured])
            )
            largest, smallest = max(peak for _, peak in measured), float(regression.at(failed_nd).min())
            limit = max(smallest, largest)  # any lower, and what fits would be left out for good
        else:
            rows_nd = np.stack([*fitting, *failed_nd])
            regression, limit = RidgeRegression(rows_nd, np.array([0.0] * len(fitting) + [1.0] * len(failed_nd))), 0.5
        slopes_d = np.abs(regression.slope_d)
        daring = len(self._failed) < RISK * (len(self._failed) + len(self._fitting))
        slight = 0.0 if daring else SLIGHT * slopes_d.max(initial=0.0)
        upwards_d = np.where(slopes_d > slight + 1e-9, np.sign(regression.slope_d), 0.0)
        fitting_nd = np.stack(fitting) if fitting else np.empty((0, failed_nd.shape[1]))
        return _Learned(
            regression=regression,
            limit=limit,
            upwards_d=upwards_d,
            fitting_mk=-_least(-_size(fitting_nd, upwards_d)),
            failed_mk=_least(_size(failed_nd, upwards_d)),
        )


@dataclass(frozen=True, kw_only=True)
class _Learned:
    regression: RidgeRegression
    limit: float  # of the regression's values: what needs more doesn't fit
    upwards_d: np.ndarray  # the sign of each dimension that matters, 0 for the rest
    fitting_mk: np.ndarray  # the largest that fitted, in the dimensions that matter, each growing with memory
    failed_mk: np.ndarray  # the smallest that failed


def _key(row_d: np.ndarray) -> bytes:
    """+ 0.0 turns -0.0 into 0.0"""
    return (row_d + 0.0).tobytes()


def _size(rows_nd: np.ndarray, upwards_d: np.ndarray) -> np.ndarray:
    """(n, k) the dimensions that matter, each so that memory grows with it."""
    matters_d = upwards_d != 0
    size_nk: np.ndarray = rows_nd[:, matters_d] * upwards_d[matters_d]
    return size_nk


def _least(rows_nk: np.ndarray) -> np.ndarray:
    """Those that no other is smaller than in all dimensions: few of thousands."""
    if not rows_nk.size:
        return rows_nk
    different_nk: np.ndarray = np.unique(rows_nk, axis=0)
    least_nk: np.ndarray = different_nk[nondominated(different_nk)]
    return least_nk


def _any_within(small_mk: np.ndarray, large_nk: np.ndarray) -> np.ndarray:
    """(n,) whether each of the large is at least as large as any of the small in every dimension."""
    within_n: np.ndarray = (large_nk[:, None, :] - small_mk[None] >= -1e-9).all(axis=2).any(axis=1)
    return within_n
