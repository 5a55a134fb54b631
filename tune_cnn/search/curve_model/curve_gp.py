"""A model of learning curves: what levels a configuration would reach, epoch by epoch, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tune_cnn.search.curve_model.curves import Curve
from tune_cnn.search.curve_model.gaussian_process import GaussianProcess

COLUMNS = 6  # epochs at which curves are modelled, evenly in the epoch's logarithm
WARM_STEPS = 8
AGAIN = 1.15  # lengths are fitted again when there are so many times more curves


def column_shares(horizon: int) -> np.ndarray:
    """Shares of the horizon: its first epoch, its last, and some between."""
    epochs = np.unique(np.round(np.geomspace(1, horizon, COLUMNS)).astype(int))
    return epochs / horizon


@dataclass(frozen=True, kw_only=True)
class Completed:
    """Curves at the columns, what is unseen filled in, with the variance of what was filled in."""

    levels_ngm: np.ndarray
    variance_ngm: np.ndarray


def completed(seen_ngm: np.ndarray, shares_g: np.ndarray) -> Completed:
    """Go on from each curve's last column by the mean step of those that went further; NaN in, none out.

    Where none went further, the pace of the steps before it goes on: exact for what accumulates, as times do.
    """
    levels, variance = seen_ngm.copy(), np.zeros_like(seen_ngm)
    step, spread = _steps(seen_ngm, np.diff(np.log(shares_g)))
    for g in range(1, levels.shape[1]):
        unseen = np.isnan(levels[:, g])
        levels[:, g] = np.where(unseen, levels[:, g - 1] + step[g - 1], levels[:, g])
        variance[:, g] = np.where(unseen, variance[:, g - 1] + spread[g - 1], 0.0)
    for g in range(levels.shape[1] - 2, -1, -1):  # a short horizon has no epoch at the first shares
        unseen = np.isnan(levels[:, g])
        levels[:, g] = np.where(unseen, levels[:, g + 1] - step[g], levels[:, g])
    return Completed(levels_ngm=levels, variance_ngm=variance)


def _steps(seen_ngm: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(g - 1, m) mean and variance of the change from column to column."""
    metrics = seen_ngm.shape[2]
    step, spread = np.zeros((len(widths), metrics)), np.zeros((len(widths), metrics))
    for m in range(metrics):
        pace, doubt = 0.0, 0.04
        for g, width in enumerate(widths):
            both = seen_ngm[:, g + 1, m] - seen_ngm[:, g, m]
            both = both[~np.isnan(both)]
            if len(both):
                pace = float(both.mean()) / width
                doubt = float(both.var()) + (0.3 * pace * width) ** 2 / len(both) ** 2
            step[g, m], spread[g, m] = pace * width, doubt
    return step, spread


class CurveModel:
    """One Gaussian process a metric over the configurations, one output a column."""

    def __init__(self, width: int, metrics: int) -> None:
        self._processes = [GaussianProcess(width) for _ in range(metrics)]
        self._tuned = 0

    def learn(
        self, rows_nd: np.ndarray, curves: Sequence[Curve], shares_g: np.ndarray, shifts_nm: np.ndarray | None = None
    ) -> None:
        """`shifts_nm`: what is added to each curve's levels, of those that were trained on other hardware."""
        seen_ngm = np.stack([c.share(shares_g) for c in curves])
        if shifts_nm is not None:
            seen_ngm += shifts_nm[:, None, :]
        done = completed(seen_ngm, shares_g)
        self._rows_nd, self._done = rows_nd, done
        if len(rows_nd) >= AGAIN * self._tuned:
            for m, process in enumerate(self._processes):
                usable = ~np.isnan(done.levels_ngm[:, :, m]).any(axis=1)
                if usable.sum() >= 3:
                    columns = [0, len(shares_g) - 1]
                    steps = WARM_STEPS if self._tuned >= 12 else 40
                    process.tune(rows_nd[usable], done.levels_ngm[usable][:, columns, m], steps=steps)
            self._tuned = len(rows_nd)

    def predict(self, rows_cd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(c, g, m) mean and standard deviation of the levels."""
        means, spreads = [], []
        for m, process in enumerate(self._processes):
            usable = ~np.isnan(self._done.levels_ngm[:, :, m]).any(axis=1)
            mean, spread = process.predict(
                self._rows_nd[usable],
                self._done.levels_ngm[usable, :, m],
                self._done.variance_ngm[usable, :, m],
                rows_cd,
            )
            means.append(mean)
            spreads.append(spread)
        return np.stack(means, axis=2), np.stack(spreads, axis=2)
