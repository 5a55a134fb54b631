"""What Optuna is told of a trial: one true point of its curve, how far it is beyond its constraints, or its end.

Of a curve the last point, with the seconds that it took: true of a stopped trial as well. The point that adds most
hypervolume to the front was told before; TPE does better, or no worse, with the last (tests/benchmarks/SIMULATION.md).
"""

import math
from collections.abc import Mapping, Sequence

from optuna.trial import TrialState as OptunaState

from tune_cnn.front.constraints import feasible
from tune_cnn.metrics import EpochPoint, Metric, unusable
from tune_cnn.spec.parts import Bound
from tune_cnn.states import TrialState

MEMORY = "memory"  # the constraint that a trial breaks which does not fit


def point_told(
    points: Sequence[EpochPoint], objectives: Sequence[Metric], bounds: Mapping[str, Mapping[str, float]]
) -> EpochPoint | None:
    """The last point of those that keep the constraints, else the last; None where the trial has no usable point."""
    usable = [p for p in points if not unusable(p.metrics, [m.name for m in objectives])]
    return max(feasible(usable, bounds) or usable, key=lambda p: p.epoch, default=None)


def violations(state: TrialState, point: EpochPoint | None, constraints: Mapping[str, Bound]) -> dict[str, float]:
    """By how much each constraint is broken, as a share of its limit; at most 0 where it is kept.

    A metric that was not measured breaks its constraint, as it does for the front; and every trial with a result
    has all of them, or the GP sampler refuses to go on.
    """
    broken = {MEMORY: 1.0} if state is TrialState.INFEASIBLE else {}
    if point is None:
        return broken
    for name, bound in constraints.items():
        value = point.metrics.get(name, math.nan)
        over = [_share(value - bound.max, bound.max)] if bound.max is not None else []
        under = [_share(bound.min - value, bound.min)] if bound.min is not None else []
        broken[name] = max(over + under) if math.isfinite(value) else 1.0
    return broken


def state_told(state: TrialState, values: Sequence[float] | None) -> OptunaState:
    """Out of memory teaches as a pruned trial with a violated constraint; a failure teaches nothing.

    Of Optuna's samplers TPE reads the constraint; NSGA-II and GP read trials with values alone, which it has none of:
    `curve_model.memory_model` keeps configurations like it from all of them.
    """
    if values is not None:
        return OptunaState.COMPLETE
    return OptunaState.PRUNED if state is TrialState.INFEASIBLE else OptunaState.FAIL


def _share(over: float, limit: float) -> float:
    return over / abs(limit) if limit else over
