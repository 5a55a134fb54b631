"""Which configurations don't fit into memory: learned from the peaks of those that did and from those that didn't."""

import numpy as np

from tune_cnn.search.regression import Line

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
        self._model: tuple[Line, float] | None = None

    def fits(self, row_d: np.ndarray, peak_mib: float | None) -> None:
        log_peak = float(np.log(peak_mib)) if peak_mib is not None and peak_mib > 0 else None
        self._fitting.append((row_d * self._costly_d, log_peak))
        self._model = None

    def fails(self, row_d: np.ndarray) -> None:
        self._failed.append(row_d * self._costly_d)
        self._model = None

    def too_large(self, rows_nd: np.ndarray) -> np.ndarray:
        """(n,) whether each is expected not to fit; none is before one has failed."""
        if not self._failed:
            return np.zeros(len(rows_nd), dtype=bool)
        if self._model is None:
            self._model = self._learned()
        line, limit = self._model
        daring = len(self._failed) < RISK * (len(self._failed) + len(self._fitting))
        slopes_d = np.abs(line.slope_d)
        slight = 0.0 if daring else SLIGHT * slopes_d.max(initial=0.0)
        upwards_d = np.where(slopes_d > slight + 1e-9, np.sign(line.slope_d), 0.0)
        rows_nd, failed_nd = rows_nd * self._costly_d, np.stack(self._failed)
        seen_nd = np.stack([row for row, _ in self._fitting]) if self._fitting else np.empty((0, rows_nd.shape[1]))
        as_failed_n = _same(rows_nd, failed_nd) & ~_same(rows_nd, seen_nd)
        if not upwards_d.any():
            return as_failed_n
        beyond_n = _as_large(rows_nd[:, None, :], failed_nd[None], upwards_d).any(axis=1)
        within_n = _as_large(seen_nd[None], rows_nd[:, None, :], upwards_d).any(axis=1)
        too_large_n: np.ndarray = as_failed_n | (((line.at(rows_nd) > limit) | beyond_n) & ~within_n)
        return too_large_n

    def _learned(self) -> tuple[Line, float]:
        failed_nd = np.stack(self._failed)
        measured = [(row, peak) for row, peak in self._fitting if peak is not None]
        if len(measured) >= ENOUGH:
            line = Line(np.stack([row for row, _ in measured]), np.array([peak for _, peak in measured]))
            largest, smallest = max(peak for _, peak in measured), float(line.at(failed_nd).min())
            return line, max(smallest, largest)  # any lower, and what fits would be left out for good
        fitting = [row for row, _ in self._fitting]
        rows_nd = np.stack([*fitting, *failed_nd])
        return Line(rows_nd, np.array([0.0] * len(fitting) + [1.0] * len(failed_nd))), 0.5


def _same(rows_nd: np.ndarray, others_md: np.ndarray) -> np.ndarray:
    """(n,) whether each row is among the others."""
    same_n: np.ndarray = (rows_nd[:, None, :] == others_md[None]).all(axis=2).any(axis=1)
    return same_n


def _as_large(one: np.ndarray, other: np.ndarray, upwards_d: np.ndarray) -> np.ndarray:
    """Whether rows need as much memory as others by every dimension that matters: `upwards_d` is 0 for the rest."""
    large: np.ndarray = ((one - other) * upwards_d >= -1e-9).all(axis=2)
    return large
