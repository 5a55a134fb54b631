"""Learning curves as the search sees them: levels, to be lowered, on which gains of different trials compare."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tune_cnn.front.dominance import LOG_FLOOR, raw_values, scaled
from tune_cnn.metrics import EpochPoint, Metric, Scale

ERROR_FLOOR = 1e-4  # an error below it is told from none by hardly any validation split


def levels(values_nk: np.ndarray, metrics: Sequence[Metric]) -> np.ndarray:
    """Values in own units to levels: minimised, and logarithmic for errors and LOG metrics.

    From 20 % wrong to 10 % is as far as from 2 % to 1 %; twice the epochs add the same to the time of any trial.
    """
    levels_nk = scaled(np.asarray(values_nk, dtype=float), metrics)
    for k, m in enumerate(metrics):
        if m.scale is Scale.ERROR:
            levels_nk[:, k] = np.log10(np.maximum(levels_nk[:, k], ERROR_FLOOR))
    return levels_nk


def scaled_of(levels_nk: np.ndarray, metrics: Sequence[Metric]) -> np.ndarray:
    """Levels to the scales on which hypervolume is measured."""
    scaled_nk = np.array(levels_nk, dtype=float)
    for k, m in enumerate(metrics):
        if m.scale is Scale.ERROR:
            scaled_nk[:, k] = 10.0 ** scaled_nk[:, k]
    return scaled_nk


@dataclass(eq=False)
class Curve:
    """A trial's levels by epoch; rows of epochs not trained (yet) are NaN."""

    horizon: int
    levels_em: np.ndarray
    seen: int = 0  # its last epoch
    points: list[EpochPoint] = field(default_factory=list)

    def share(self, fractions_e: np.ndarray) -> np.ndarray:
        """(len(fractions_e), m) levels at shares of the horizon; NaN beyond what was seen, and before epoch 1."""
        if not self.seen:
            return np.full((len(fractions_e), self.levels_em.shape[1]), np.nan)
        known = np.arange(1, self.seen + 1) / self.horizon
        columns = [
            np.interp(fractions_e, known, self.levels_em[: self.seen, m], left=np.nan, right=np.nan)
            for m in range(self.levels_em.shape[1])
        ]
        return np.stack(columns, axis=1)


class Curves:
    """All curves of a study, those of running trials among them."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self.metrics = list(metrics)
        self._names = [m.name for m in metrics]
        self.all: list[Curve] = []

    def start(self, horizon: int, points: Iterable[EpochPoint] = ()) -> Curve:
        curve = Curve(horizon=horizon, levels_em=np.full((horizon, len(self.metrics)), np.nan))
        self.all.append(curve)
        for point in points:
            self.add(curve, point)
        return curve

    def add(self, curve: Curve, point: EpochPoint) -> None:
        """An epoch beyond the horizon, as a training of one's own may yield, teaches nothing here."""
        curve.points.append(point)
        if 1 <= point.epoch <= curve.horizon:
            curve.levels_em[point.epoch - 1] = levels(raw_values([point], self._names), self.metrics)[0]
            curve.seen = max(curve.seen, point.epoch)

    def at_shares_of(self, horizon: int, *, but: Curve | None = None) -> np.ndarray:
        """(n, horizon, m) all other curves, stretched to this horizon."""
        fractions_e = np.arange(1, horizon + 1) / horizon
        rows = [
            c.levels_em if c.horizon == horizon else c.share(fractions_e) for c in self.all if c is not but and c.seen
        ]
        return np.stack(rows) if rows else np.empty((0, horizon, len(self.metrics)))


def limits(bounds: Mapping[str, Mapping[str, float]], metrics: Sequence[Metric]) -> np.ndarray:
    """(m,) the level above which a point breaks a constraint; infinite where none does.

    A bound on the good side (a throughput of at most …) is not one that a curve can miss by being too poor.
    """
    limits_m = np.full(len(metrics), np.inf)
    for at, m in enumerate(metrics):
        side = "min" if m.direction == "max" else "max"
        limit = bounds.get(m.name, {}).get(side)
        if limit is not None:
            floor = LOG_FLOOR if m.scale is Scale.LOG else -np.inf
            limits_m[at] = levels(np.array([[max(limit, floor)]]), [m])[0, 0]
    return limits_m
