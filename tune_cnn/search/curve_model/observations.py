"""What a search knows of its trials: configurations, curves, the front, and the reference point."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tune_cnn.front.constraints import feasible
from tune_cnn.front.dominance import raw_values
from tune_cnn.front.hypervolume import FrontTracker, gains_of_scaled
from tune_cnn.metrics import METRICS, EpochPoint, Metric
from tune_cnn.search.curve_model.curves import Curve, Curves, levels, limits, scaled_of
from tune_cnn.search.curve_model.hardware_share import Part
from tune_cnn.spec import StudySpec
from tune_cnn.untyped import Plain

TIME = "train_time_s"
REFERENCE_AFTER = 8  # ended trials after which the reference point is fixed: enough to have seen slow ones

Encoded = dict[str, Plain]


@dataclass(kw_only=True, eq=False)
class Observation:
    """A configuration that is or was in training, with its curve."""

    encoded: Encoded
    params: Mapping[str, Plain]
    row_d: np.ndarray
    curve: Curve
    part: Part | None = None  # of the hardware, that it trains on
    running: bool = True


class Observations:
    """Grows with every epoch; the same for a search that went through and for one rebuilt from the store."""

    def __init__(self, spec: StudySpec, reference: Mapping[str, float] | None = None) -> None:
        self.objectives: list[Metric] = spec.objective_metrics
        self.bounds = spec.bounds
        known = {**METRICS, **spec.user_metrics}
        names = dict.fromkeys([*spec.objectives, *spec.constraints, TIME])
        self.metrics: list[Metric] = [known[name] for name in names]
        self.time_at = list(names).index(TIME)
        self.limits_m = limits(self.bounds, self.metrics)
        self.curves = Curves(self.metrics)
        self.tracker = FrontTracker(self.objectives, reference)
        self.all: list[Observation] = []
        self.ended = 0

    def start(
        self,
        encoded: Encoded,
        params: Mapping[str, Plain],
        row_d: np.ndarray,
        horizon: int,
        points: Sequence[EpochPoint],
        *,
        part: Part | None = None,
    ) -> Observation:
        curve = self.curves.start(horizon)
        observation = Observation(encoded=encoded, params=params, row_d=row_d, curve=curve, part=part)
        self.all.append(observation)
        for point in points:
            self.add(observation, point)
        return observation

    def add(self, observation: Observation, point: EpochPoint) -> None:
        self.curves.add(observation.curve, point)
        if feasible([point], self.bounds):
            self.tracker.add(point)

    def end(self, observation: Observation | None) -> None:
        """A trial has ended; the reference point is fixed once enough have: first epochs don't say how long one is."""
        self.ended += 1
        if observation is not None:
            observation.running = False
        if self.ended >= REFERENCE_AFTER:
            self.tracker.fix_reference()

    @property
    def front_levels(self) -> np.ndarray:
        """(f, m) the front's points as levels; unmeasured metrics are NaN."""
        points = self.tracker.points
        names = [m.name for m in self.metrics]
        return levels(raw_values(points, names), self.metrics) if points else np.empty((0, len(names)))

    def gains(self, levels_m: np.ndarray) -> np.ndarray:
        """Of levels (…, objectives first) on the reference, in the unit of `front.hypervolume`."""
        count = len(self.objectives)
        flat = scaled_of(levels_m[..., :count].reshape(-1, count), self.objectives)
        gains: np.ndarray = gains_of_scaled(flat, self.objectives, self.tracker.reference)
        return gains.reshape(*levels_m.shape[:-1], count)

    def allowed(self, levels_m: np.ndarray) -> np.ndarray:
        """(…) whether levels keep the constraints; a metric that is not known is taken to."""
        allowed: np.ndarray = np.all(np.isnan(levels_m) | (levels_m <= self.limits_m + 1e-9), axis=-1)
        return allowed
