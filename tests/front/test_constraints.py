"""Constraints keep what meets them, and say how near the rest comes."""

from typing import Any

from tune_cnn.front.constraints import feasible, nothing_feasible
from tune_cnn.metrics import EpochPoint, user_metric


def point(trial: int, **metrics: Any) -> EpochPoint:
    return EpochPoint(trial=trial, epoch=2, metrics=metrics)


def test_feasible_points_meet_every_side_of_every_constraint() -> None:
    """Limits are inside; the order stays."""
    points = [
        point(1, peak_memory_mib=100.0, accuracy=0.5),
        point(2, peak_memory_mib=101.0, accuracy=0.9),
        point(3, peak_memory_mib=49.0, accuracy=0.9),
        point(4, peak_memory_mib=50.0, accuracy=0.6),
        point(5, peak_memory_mib=70.0, accuracy=0.4),
    ]
    constraints: dict[str, dict[str, float]] = {"peak_memory_mib": {"max": 100, "min": 50}, "accuracy": {"min": 0.5}}
    assert [p.trial for p in feasible(points, constraints)] == [1, 4]


def test_no_constraints_keep_everything() -> None:
    points = [point(1), point(2, accuracy=0.1)]
    assert feasible(points, {}) == points
    assert nothing_feasible(points, {}) is None


def test_a_point_that_lacks_the_metric_is_not_feasible() -> None:
    """Missing, None and NaN can't be shown to meet a bound, on either side."""
    points = [point(1), point(2, gpu_energy_j=None), point(3, gpu_energy_j=float("nan"))]
    assert feasible(points, {"gpu_energy_j": {"max": 1e9}}) == []
    assert feasible(points, {"gpu_energy_j": {"min": 0}}) == []


def test_there_is_no_sentence_while_a_point_meets_the_constraints() -> None:
    assert nothing_feasible([point(1, accuracy=0.9)], {"accuracy": {"min": 0.9}}) is None


def test_the_sentence_names_the_nearest_point_and_its_misses() -> None:
    """Near is relative to the limits: 10 % of memory is nearer than half of the accuracy, though more in numbers."""
    points = [
        point(7, peak_memory_mib=1100.0, accuracy=0.8),
        point(8, peak_memory_mib=900.0, accuracy=0.4),
        point(9, peak_memory_mib=1000.0),
    ]
    said = nothing_feasible(points, {"peak_memory_mib": {"max": 1000}, "accuracy": {"min": 0.8}})
    assert said == (
        "none of 3 epoch points has peak_memory_mib <= 1000 MiB and accuracy >= 0.8; "
        "the nearest, trial 7 at epoch 2, misses by peak_memory_mib = 1100 MiB, 100 MiB above the bound"
    )


def test_the_sentence_says_what_was_never_measured() -> None:
    said = nothing_feasible([point(1, accuracy=0.9), point(2, accuracy=0.8)], {"gpu_energy_j": {"max": 5}})
    assert said == "no epoch point has gpu_energy_j <= 5 J: gpu_energy_j was measured at none of the 2"


def test_the_sentence_copes_with_no_points_zero_limits_and_partly_measured_bounds() -> None:
    assert nothing_feasible([], {"accuracy": {"min": 0.5}}) == "no epoch point yet, so none with accuracy >= 0.5"
    assert "trial 2" in str(
        nothing_feasible([point(1, cotenants=3.0), point(2, cotenants=1.0)], {"cotenants": {"max": 0}})
    )
    parts = [point(1, accuracy=0.9), point(2, val_loss=0.1)]
    said = str(nothing_feasible(parts, {"accuracy": {"min": 0.5}, "val_loss": {"max": 1}}))
    assert said.endswith("trial 1 at epoch 2, misses by val_loss, which was not measured there")


def test_the_sentence_knows_the_units_of_the_users_metrics() -> None:
    lag = user_metric("lag", unit="frames", direction="min", call="mine:lag")
    assert "lag <= 1 frames" in str(nothing_feasible([point(1, lag=2.0)], {"lag": {"max": 1}}, {"lag": lag}))
