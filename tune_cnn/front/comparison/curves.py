"""Curves of a cell over its epochs: means over the seeds with bands, and the seconds that an epoch's end stands at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tune_cnn.front.comparison.intervals import Interval, mean_of
from tune_cnn.metrics import EpochPoint, Metric


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One metric of one cell; at each epoch the seeds that got there."""

    epochs: tuple[int, ...]
    seconds: tuple[float | None, ...]  # mean training time at each
    means: tuple[Interval, ...]


def curve_of(runs: Sequence[Sequence[EpochPoint]], name: str, metric: Metric | None) -> Curve:
    """`runs`: the points of each seed."""
    values: dict[int, list[float]] = {}
    seconds: dict[int, list[float]] = {}
    for points in runs:
        for point in points:
            if (value := point.metrics.get(name)) is not None:
                values.setdefault(point.epoch, []).append(value)
                _add(seconds, point.epoch, point.metrics)
    epochs = tuple(sorted(values))
    times = tuple(sum(mine) / len(mine) if (mine := seconds.get(epoch)) else None for epoch in epochs)
    return Curve(epochs=epochs, seconds=times, means=tuple(mean_of(values[epoch], metric) for epoch in epochs))


def _add(seconds: dict[int, list[float]], epoch: int, metrics: Mapping[str, float]) -> None:
    if "train_time_s" in metrics:
        seconds.setdefault(epoch, []).append(metrics["train_time_s"])
