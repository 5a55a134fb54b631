"""Which configurations don't fit into memory: learned from the peaks of those that did and from those that didn't."""

import numpy as np

from tune_cnn.search.regression import Line

ENOUGH = 3  # peaks from which a line is drawn


class MemoryModel:
    """A line through the logarithms of the peaks; what lies nearer to the failed than to the fitting doesn't fit."""

    def __init__(self) -> None:
        self._fitting: list[tuple[np.ndarray, float | None]] = []  # with the logarithm of the peak, where measured
        self._failed: list[np.ndarray] = []
        self._model: tuple[Line, float] | None = None

    def fits(self, row_d: np.ndarray, peak_mib: float | None) -> None:
        self._fitting.append((row_d, float(np.log(peak_mib)) if peak_mib is not None and peak_mib > 0 else None))
        self._model = None

    def fails(self, row_d: np.ndarray) -> None:
        self._failed.append(row_d)
        self._model = None

    def too_large(self, rows_nd: np.ndarray) -> np.ndarray:
        """(n,) whether each is expected not to fit; none is before one has failed."""
        if not self._failed:
            return np.zeros(len(rows_nd), dtype=bool)
        if self._model is None:
            self._model = self._learned()
        line, limit = self._model
        seen_nd = np.stack([row for row, _ in self._fitting]) if self._fitting else np.empty((0, rows_nd.shape[1]))
        failed = (rows_nd[:, None, :] == np.stack(self._failed)[None]).all(axis=2).any(axis=1)
        fitted = (rows_nd[:, None, :] == seen_nd[None]).all(axis=2).any(axis=1)
        too_large_n: np.ndarray = failed | ((line.at(rows_nd) > limit) & ~fitted)
        return too_large_n

    def _learned(self) -> tuple[Line, float]:
        failed_nd = np.stack(self._failed)
        measured = [(row, peak) for row, peak in self._fitting if peak is not None]
        if len(measured) >= ENOUGH:
            line = Line(np.stack([row for row, _ in measured]), np.array([peak for _, peak in measured]))
            largest, smallest = max(peak for _, peak in measured), float(line.at(failed_nd).min())
            return line, (largest + max(smallest, largest)) / 2
        fitting = [row for row, _ in self._fitting]
        rows_nd = np.stack([*fitting, *failed_nd])
        return Line(rows_nd, np.array([0.0] * len(fitting) + [1.0] * len(failed_nd))), 0.5
