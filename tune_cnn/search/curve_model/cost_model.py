"""What an epoch of a configuration takes, before it is trained: from the probe, and from epochs of its like."""

from collections.abc import Mapping

import numpy as np

from tune_cnn.metrics import EpochPoint
from tune_cnn.search.curve_model.ridge_regression import RidgeRegression
from tune_cnn.spec.costs import Cost, cost_key
from tune_cnn.untyped import Plain

ENOUGH = 4  # different costs from which those of others are judged


class CostModel:
    """Seconds of training an epoch: known for what costs the same, else by a line through their logarithms."""

    def __init__(self) -> None:
        self._probed: dict[str, float] = {}
        self._seen: dict[tuple[str, int], tuple[float, int]] = {}  # by key and trial: seconds and epochs so far
        self._sums: dict[str, tuple[float, int]] = {}  # of a key's trials: asked for thousands of times a trial
        self._rows: dict[str, np.ndarray] = {}
        self._regression: RidgeRegression | None = None

    def probe(self, params: Mapping[str, Plain], row_d: np.ndarray, cost: Cost) -> None:
        """A cost that was measured beside the search; its trials' own times count more."""
        if cost.epoch_time_s is None or cost.epoch_time_s <= 0:
            return
        key = cost_key(params)
        self._probed[key] = cost.epoch_time_s
        self._rows[key] = row_d
        self._regression = None

    def observe(self, params: Mapping[str, Plain], row_d: np.ndarray, point: EpochPoint) -> None:
        time_s = point.metrics.get("train_time_s")
        if time_s is None or not time_s > 0 or point.epoch < 1:
            return
        key = cost_key(params)
        if key not in self._sums and key not in self._probed:
            self._regression = None
        before_s, before = self._seen.get((key, point.trial), (0.0, 0))
        sum_s, epochs = self._sums.get(key, (0.0, 0))
        self._seen[key, point.trial] = (float(time_s), point.epoch)
        self._sums[key] = (sum_s + float(time_s) - before_s, epochs + point.epoch - before)
        self._rows[key] = row_d

    @property
    def keys(self) -> set[str]:
        """The `cost_key` of all that was trained or probed."""
        return set(self._rows)

    def known(self, key: str) -> float | None:
        """Seconds an epoch, where something with this `cost_key` was trained or probed."""
        seen = self._sums.get(key)
        return self._probed.get(key) if seen is None else seen[0] / seen[1]

    def epoch_time_s(self, params: Mapping[str, Plain], row_d: np.ndarray) -> float | None:
        """Seconds an epoch, known or judged by others; None while too few are known."""
        known = self.known(cost_key(params))
        if known is not None or len(self._rows) < ENOUGH:
            return known
        if self._regression is None:
            times = [self.known(key) or 1e-9 for key in self._rows]
            self._regression = RidgeRegression(np.stack(list(self._rows.values())), np.log(times))
        return float(np.exp(np.clip(self._regression.at(row_d[None])[0], -20, 20)))
