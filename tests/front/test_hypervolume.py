"""Hypervolume, contributions and the live front against counting cells of a grid."""

import itertools
import math

import numpy as np
import pytest

from tune_cnn.front.dominance import front
from tune_cnn.front.hypervolume import FrontTracker, contributions, hypervolume, reference_point
from tune_cnn.metrics import METRICS, EpochPoint, Metric, user_metric

ACCURACY, TIME, MEMORY = METRICS["accuracy"], METRICS["train_time_s"], METRICS["peak_memory_mib"]
SPEED, UTILISATION = METRICS["images_per_s"], METRICS["gpu_util_pct"]
LAG = user_metric("lag", unit="frames", direction="min", call="mine:lag")
REFERENCE = {
    "accuracy": 0.0,
    "train_time_s": 100.0,
    "peak_memory_mib": 5000.0,
    "images_per_s": 10.0,
    "gpu_util_pct": 0.0,
    "lag": 8.0,
}
MIXES = [[ACCURACY], [TIME], [ACCURACY, TIME], [SPEED, LAG], [ACCURACY, TIME, MEMORY], [TIME, UTILISATION, SPEED]]
by_name = pytest.mark.parametrize("objectives", MIXES, ids=lambda objectives: "-".join(m.name for m in objectives))


def point(trial: int, epoch: int = 1, **metrics: float) -> EpochPoint:
    return EpochPoint(trial=trial, epoch=epoch, metrics=metrics)


def random_points(seed: int, n: int) -> list[EpochPoint]:
    """Some beyond the reference, some equal to others in an objective."""
    rng = np.random.default_rng(seed)
    return [
        point(
            trial,
            1 + trial % 3,
            accuracy=float(rng.integers(0, 20) / 20),
            train_time_s=float(2.0 ** rng.integers(0, 8)),
            peak_memory_mib=float(2.0 ** rng.integers(6, 14)),
            images_per_s=float(2.0 ** rng.integers(2, 14)),
            gpu_util_pct=float(rng.integers(0, 100)),
            lag=float(rng.integers(0, 10)),
        )
        for trial in rng.permutation(n).tolist()
    ]


def gain(m: Metric, value: float) -> float:
    """The unit that the module promises, spelt out by metric."""
    ref = REFERENCE[m.name]
    if m in (TIME, MEMORY):
        return math.log10(ref / value)
    if m is SPEED:
        return math.log10(value / ref)
    return {"accuracy": value - ref, "gpu_util_pct": (value - ref) / 100, "lag": ref - value}[m.name]


def brute_hypervolume(points: list[EpochPoint], objectives: list[Metric]) -> float:
    """Cut space at every coordinate, and add the cells that some point covers."""
    gains = [[gain(m, p.metrics[m.name]) for m in objectives] for p in points]
    cuts = [sorted({0.0, *(g[k] for g in gains if g[k] > 0)}) for k in range(len(objectives))]
    total = 0.0
    for cell in itertools.product(*(list(itertools.pairwise(c)) for c in cuts)):
        if any(all(g >= high for g, (_, high) in zip(row, cell, strict=True)) for row in gains):
            total += math.prod(high - low for low, high in cell)
    return total


@by_name
@pytest.mark.parametrize("seed", range(3))
def test_hypervolume_is_the_covered_space(objectives: list[Metric], seed: int) -> None:
    """Equal to the sum over grid cells, dominated points and points beyond the reference included."""
    points = random_points(seed, 25)
    assert hypervolume(points, objectives, REFERENCE) == pytest.approx(brute_hypervolume(points, objectives))


@by_name
@pytest.mark.parametrize("seed", range(3))
def test_contribution_is_what_goes_with_the_point(objectives: list[Metric], seed: int) -> None:
    """For each front point, the whole less the front without it."""
    on_front = front(random_points(seed, 25), objectives)
    whole = brute_hypervolume(on_front, objectives)
    lost = [whole - brute_hypervolume([q for q in on_front if q is not p], objectives) for p in on_front]
    assert contributions(on_front, objectives, REFERENCE) == pytest.approx(lost)


def test_contributions_of_dominated_duplicate_and_unusable_points_are_zero() -> None:
    """Among all points, only the front's earliest copies add anything, as if the rest weren't there."""
    best, rest = (
        point(1, accuracy=0.5, train_time_s=10.0),
        [
            point(2, accuracy=0.5, train_time_s=10.0),
            point(3, accuracy=0.4, train_time_s=20.0),
            point(4, accuracy=math.nan, train_time_s=1.0),
            point(5, accuracy=0.9, train_time_s=1000.0),
        ],
    )
    assert contributions([*rest, best, best], [ACCURACY, TIME], REFERENCE) == pytest.approx([0, 0, 0, 0, 0.5, 0])
    assert contributions([], [ACCURACY, TIME], REFERENCE) == []
    assert contributions(rest[-1:], [ACCURACY, TIME], REFERENCE) == [0.0]


def test_the_unit_reads_as_accuracy_times_decades() -> None:
    """The module's own example: 0.9 a hundred times faster than the reference is 1.8."""
    assert hypervolume([point(1, accuracy=0.9, train_time_s=1.0)], [ACCURACY, TIME], REFERENCE) == pytest.approx(1.8)


def test_hypervolume_of_nothing_or_beyond_the_reference_is_zero() -> None:
    objectives = [ACCURACY, TIME]
    beyond = [point(1, accuracy=0.9, train_time_s=100.0), point(2, accuracy=0.0, train_time_s=1.0)]
    assert hypervolume([], objectives, {}) == 0.0
    assert hypervolume(beyond, objectives, REFERENCE) == 0.0
    assert hypervolume([point(1, train_time_s=1000.0)], [TIME], REFERENCE) == 0.0
    assert hypervolume([point(1, accuracy=math.nan, train_time_s=1.0)], objectives, REFERENCE) == 0.0


def test_reference_is_the_worst_possible_or_well_beyond_the_worst_seen() -> None:
    """Shares and percentages have a worst; LOG metrics get ten times the worst seen; others a range more."""
    swaps = user_metric("swaps_pct", unit="%", direction="min", call="mine:swaps")
    points = [
        point(1, accuracy=0.2, train_time_s=3.0, images_per_s=50.0, gpu_util_pct=30.0, swaps_pct=4.0, lag=5.0),
        point(2, accuracy=0.9, train_time_s=7.0, images_per_s=90.0, gpu_util_pct=60.0, swaps_pct=9.0, lag=2.0),
        point(3, accuracy=0.9, train_time_s=math.nan, images_per_s=0.1, gpu_util_pct=60.0, swaps_pct=9.0, lag=99.0),
    ]
    assert reference_point(points, [ACCURACY, TIME, SPEED, UTILISATION, swaps, LAG]) == {
        "accuracy": 0.0,
        "train_time_s": 70.0,
        "images_per_s": 5.0,
        "gpu_util_pct": 0.0,
        "swaps_pct": 100.0,
        "lag": 8.0,
    }
    assert reference_point([], [ACCURACY, TIME]) == {}


@by_name
def test_every_point_that_gave_the_reference_lies_within_it(objectives: list[Metric]) -> None:
    """Even the worst of the first points counts, but for an accuracy or utilisation of nothing."""
    points = [p for p in random_points(11, 30) if p.metrics["accuracy"] > 0 and p.metrics["gpu_util_pct"] > 0]
    reference = reference_point(points, objectives)
    assert all(hypervolume([p], objectives, reference) > 0 for p in points)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_reference_of_equal_points_still_leaves_room(value: float) -> None:
    assert reference_point([point(1, lag=value), point(2, lag=value)], [LAG])["lag"] > value
    assert hypervolume([point(1, train_time_s=value)], [TIME], reference_point([point(1, train_time_s=value)], [TIME]))


@by_name
@pytest.mark.parametrize("seed", range(3))
def test_tracker_agrees_with_the_front_after_every_point(objectives: list[Metric], seed: int) -> None:
    """Points, hypervolume, and whether it changed, as if all were computed anew each time."""
    tracker = FrontTracker(objectives, REFERENCE)
    seen: list[EpochPoint] = []
    before: list[EpochPoint] = []
    for p in random_points(seed, 60):
        seen.append(p)
        changed = tracker.add(p)
        expected = front(seen, objectives)
        assert tracker.points == expected
        assert changed == (expected != before)
        assert tracker.hypervolume == pytest.approx(hypervolume(seen, objectives, REFERENCE))
        before = expected


def test_tracker_passes_over_unusable_and_repeated_points() -> None:
    """A resumed trial reports an epoch again; a NaN is no news."""
    tracker = FrontTracker([ACCURACY, TIME])
    assert tracker.points == [] and tracker.hypervolume == 0.0 and tracker.reference == {}
    assert not tracker.add(point(1, accuracy=math.nan, train_time_s=1.0))
    assert tracker.add(point(1, accuracy=0.5, train_time_s=1.0))
    assert not tracker.add(point(1, accuracy=0.5, train_time_s=1.0))
    assert len(tracker.points) == 1


def test_tracker_without_a_reference_is_provisional_until_fixed() -> None:
    """It follows what has been seen, dominated points too, and stays put once fixed."""
    objectives = [ACCURACY, TIME]
    points = [point(1, accuracy=0.5, train_time_s=1.0), point(2, accuracy=0.4, train_time_s=50.0)]
    tracker = FrontTracker(objectives)
    assert tracker.fix_reference() == {} and not tracker.reference_is_fixed
    tracker.add(points[0])
    assert tracker.hypervolume == pytest.approx(0.5)
    tracker.add(points[1])
    assert tracker.reference == reference_point(points, objectives) == {"accuracy": 0.0, "train_time_s": 500.0}
    assert tracker.hypervolume == pytest.approx(hypervolume(points, objectives, tracker.reference))
    assert tracker.fix_reference() == {"accuracy": 0.0, "train_time_s": 500.0} and tracker.reference_is_fixed
    tracker.add(point(3, accuracy=0.1, train_time_s=900.0))
    assert tracker.reference["train_time_s"] == 500.0
