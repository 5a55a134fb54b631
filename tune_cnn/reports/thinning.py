"""What of a large study a figure can show: a fair sample of its points, and few steps of a long trace."""

from collections.abc import Mapping, Sequence

import numpy as np

from tune_cnn.front.hypervolume import FrontTracker, reference_point
from tune_cnn.metrics import EpochPoint, Metric, by_trial, unusable

Key = tuple[int, int]


def key(point: EpochPoint) -> Key:
    return point.trial, point.epoch


def usable(points: Sequence[EpochPoint], objectives: Sequence[Metric]) -> list[EpochPoint]:
    """The points that have all objectives, finite."""
    names = [m.name for m in objectives]
    return [p for p in points if unusable(p.metrics, names) is None]


def sample(count: int, most: int) -> list[int]:
    """At most `most` of `count` indices, in order. Drawn, not every n-th: that could hit the same epoch each time."""
    if count <= most:
        return list(range(count))
    return sorted(np.random.default_rng(0).choice(count, size=most, replace=False).tolist())


def dominated_sample(points: Sequence[EpochPoint], front_points: Sequence[EpochPoint], most: int) -> list[EpochPoint]:
    """At most `most` of the points off the front."""
    on_front = {key(p) for p in front_points}
    off = [p for p in points if key(p) not in on_front]
    return [off[k] for k in sample(len(off), most)]


def curve_sample(
    points: Sequence[EpochPoint], front_points: Sequence[EpochPoint], most: int
) -> dict[int, list[EpochPoint]]:
    """At most `most` trials' curves, by trial: up to two thirds of them from the front, the rest from the others."""
    curves = by_trial(sorted(points, key=key))
    on_front = {p.trial for p in front_points}
    first = [trial for trial in curves if trial in on_front]
    others = [trial for trial in curves if trial not in on_front]
    kept = {first[k] for k in sample(len(first), max(most * 2 // 3, most - len(others)))}
    kept |= {others[k] for k in sample(len(others), most - len(kept))}
    return {trial: curve for trial, curve in curves.items() if trial in kept}


def hypervolume_trace(
    points: Sequence[EpochPoint],
    objectives: Sequence[Metric],
    reference: Mapping[str, float] | None,
    *,
    most: int = 300,
) -> list[tuple[int, float]]:
    """(trials so far, hypervolume) in the order of the trials' numbers, at `most` places."""
    good = sorted(usable(points, objectives), key=key)
    if not good:
        return []
    tracker = FrontTracker(objectives, reference or reference_point(good, objectives))
    trials = sorted({p.trial for p in good})
    wanted = {trials[(k + 1) * len(trials) // min(most, len(trials)) - 1] for k in range(min(most, len(trials)))}
    trace: list[tuple[int, float]] = []
    for point, following in zip(good, [*good[1:], None], strict=True):
        tracker.add(point)
        if point.trial in wanted and (following is None or following.trial != point.trial):
            trace.append((point.trial, tracker.hypervolume))
    return trace


def best_few(front: Sequence[EpochPoint], best: EpochPoint, most: int) -> list[EpochPoint]:
    """The front's ends, its knee, and others evenly between, in the front's order."""
    if len(front) <= most:
        return list(front)
    if most <= 1:
        return [best][:most]
    chosen = {k * (len(front) - 1) // (most - 1) for k in range(most)}
    at = front.index(best)
    if at not in chosen:
        inner = [k for k in chosen if 0 < k < len(front) - 1] or [min(chosen)]
        chosen = chosen - {min(inner, key=lambda k: abs(k - at))} | {at}
    return [front[k] for k in sorted(chosen)]
