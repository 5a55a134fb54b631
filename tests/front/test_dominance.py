"""The front against the definition of dominance, spelt out point by point."""

import math
from typing import Any

import numpy as np
import pytest

from tune_cnn.front.dominance import LOG_FLOOR, front, objective_matrix
from tune_cnn.metrics import METRICS, EpochPoint, Metric, user_metric

ACCURACY, TIME, MEMORY = METRICS["accuracy"], METRICS["train_time_s"], METRICS["peak_memory_mib"]
SPEED, UTILISATION = METRICS["images_per_s"], METRICS["gpu_util_pct"]


def point(trial: int, epoch: int = 1, **metrics: Any) -> EpochPoint:
    return EpochPoint(trial=trial, epoch=epoch, metrics=metrics)


def random_points(seed: int, objectives: list[Metric], n: int, levels: int = 12) -> list[EpochPoint]:
    """Few levels, so that ties and duplicates are common."""
    values = np.random.default_rng(seed).integers(1, levels, size=(n, len(objectives))) / levels
    order = np.random.default_rng(seed + 1).permutation(n)
    return [
        point(int(t), 1 + int(t) % 3, **{m.name: float(v) for m, v in zip(objectives, row, strict=True)})
        for t, row in zip(order, values, strict=True)
    ]


def brute_front(points: list[EpochPoint], objectives: list[Metric]) -> list[EpochPoint]:
    def cost(p: EpochPoint) -> list[float]:
        return [-p.metrics[m.name] if m.direction == "max" else p.metrics[m.name] for m in objectives]

    def beats(a: EpochPoint, b: EpochPoint) -> bool:
        if cost(a) == cost(b):
            return (a.trial, a.epoch) < (b.trial, b.epoch)
        return all(x <= y for x, y in zip(cost(a), cost(b), strict=True))

    kept = [p for p in points if not any(beats(other, p) for other in points)]
    return sorted(kept, key=lambda p: cost(p)[::-1])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "objectives",
    [[ACCURACY], [ACCURACY, TIME], [SPEED, UTILISATION], [TIME, MEMORY], [ACCURACY, TIME, UTILISATION, MEMORY]],
    ids=lambda objectives: "-".join(m.name for m in objectives),
)
def test_front_is_what_no_point_dominates(objectives: list[Metric], seed: int) -> None:
    """Same points, same order as the definition, whichever way the objectives run."""
    points = random_points(seed, objectives, 120)
    assert front(points, objectives) == brute_front(points, objectives)


def test_front_of_nothing_is_empty() -> None:
    assert front([], [ACCURACY, TIME]) == []


def test_front_of_one_point_is_that_point() -> None:
    only = point(3, accuracy=0.5, train_time_s=2.0)
    assert front([only], [ACCURACY, TIME]) == [only]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None])
def test_points_with_unusable_objectives_are_left_out(bad: float | None) -> None:
    """Not even an infinitely good value counts; nor does a point that lacks the metric altogether."""
    good = point(5, accuracy=0.1, train_time_s=9.0)
    for name in ("accuracy", "train_time_s"):
        metrics: dict[str, Any] = {"accuracy": 0.9, "train_time_s": 1.0, name: bad}
        spoilt = EpochPoint(trial=1, epoch=1, metrics=metrics)
        assert front([spoilt, good, point(2, accuracy=0.99)], [ACCURACY, TIME]) == [good]
        assert front([spoilt], [ACCURACY, TIME]) == []


def test_an_unusable_metric_that_is_no_objective_does_not_matter() -> None:
    odd = point(1, accuracy=0.9, train_time_s=1.0, gpu_energy_j=math.nan)
    assert front([odd], [ACCURACY, TIME]) == [odd]


def test_the_earliest_stands_for_exact_duplicates() -> None:
    """Lowest trial first, then lowest epoch, whatever the order of arrival."""
    points = [point(t, e, accuracy=0.9, train_time_s=1.0) for t, e in ((7, 1), (2, 5), (2, 4), (3, 1))]
    assert front(points, [ACCURACY, TIME]) == [points[2]]
    assert front(points[::-1], [ACCURACY, TIME]) == [points[2]]


def test_fastest_comes_first_with_accuracy_and_time() -> None:
    """The order is that of the last objective, best first."""
    slow, fast = point(1, accuracy=0.9, train_time_s=10.0), point(2, accuracy=0.5, train_time_s=1.0)
    assert front([slow, fast], [ACCURACY, TIME]) == [fast, slow]
    assert front([slow, fast], [TIME, ACCURACY]) == [slow, fast]


def test_differences_smaller_than_the_scales_resolve_still_count() -> None:
    """1 - 1e-17 is 1, yet an accuracy of 1e-17 beats 0: dominance is decided on the values themselves."""
    points = [point(1, accuracy=0.0, train_time_s=0.0), point(2, accuracy=1e-17, train_time_s=1e-12)]
    assert front(points, [ACCURACY, TIME]) == points


def test_objective_matrix_minimises_every_scale() -> None:
    """Errors as 1 - value, LOG as log10, LINEAR as it is, each negated where more is better."""
    lag = user_metric("lag", unit="frames", direction="min", call="mine:lag")
    row = point(1, accuracy=0.9, train_time_s=100.0, images_per_s=1000.0, gpu_util_pct=70.0, lag=3.0)
    matrix = objective_matrix([row], [ACCURACY, TIME, SPEED, UTILISATION, lag])
    np.testing.assert_allclose(matrix, [[0.1, 2.0, -3.0, -70.0, 3.0]])


def test_objective_matrix_floors_logarithms_and_marks_what_is_missing() -> None:
    """A zero or negative time stands at the floor rather than at minus infinity; a missing one is NaN."""
    rows = [point(1, train_time_s=0.0), point(2, train_time_s=-1.0), point(3), point(4, train_time_s=math.inf)]
    expected = math.log10(LOG_FLOOR)
    np.testing.assert_allclose(objective_matrix(rows, [TIME])[:, 0], [expected, expected, math.nan, math.nan])
