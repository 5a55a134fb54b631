"""Each trial's share of the front, and how the hypervolume grew: what MLflow shows beside the curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tune_cnn.front.confirmed import Confirmed, SeedRun, confirmed
from tune_cnn.front.constraints import feasible
from tune_cnn.front.dominance import front
from tune_cnn.front.hypervolume import FrontTracker, contributions
from tune_cnn.metrics import Metric, by_trial
from tune_cnn.records.rows import PointRecord
from tune_cnn.spec import StudySpec
from tune_cnn.untyped import Plain

Constraints = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class TrialOnFront:
    """A trial's share of the front: its epochs there, and the one epoch that stands for the trial."""

    epochs: tuple[int, ...]
    point: PointRecord


@dataclass(frozen=True, kw_only=True)
class Growth:
    """The front after one more point changed it."""

    points: int  # committed so far, of the whole study
    reported_ms: int
    hypervolume: float
    front_size: int


def confirmed_candidates(runs: Sequence[SeedRun], spec: StudySpec, images: Mapping[str, Plain]) -> list[Confirmed]:
    """What is known of the points that were trained again; `images`: the study's facts about its data."""
    return confirmed(runs, spec.objective_metrics, spec.bounds, spec.user_metrics, images=images)


def trials_on_front(
    points: Sequence[PointRecord],
    objectives: Sequence[Metric],
    constraints: Constraints,
    reference: Mapping[str, float] | None,
) -> dict[int, TrialOnFront]:
    """By trial, for the trials that are on the front.

    The chosen epoch is the one whose loss would cost the front most hypervolume, the later of two equal ones;
    without a reference point yet, the last epoch on the front.
    """
    on_front = front(feasible(points, constraints), objectives)
    shares = contributions(on_front, objectives, reference) if reference else [0.0] * len(on_front)
    share_of = {(point.trial, point.epoch): share for share, point in zip(shares, on_front, strict=True)}
    return {
        trial: TrialOnFront(
            epochs=tuple(sorted(point.epoch for point in mine)),
            point=max(mine, key=lambda point: (share_of[point.trial, point.epoch], point.epoch)),
        )
        for trial, mine in sorted(by_trial(on_front).items())
    }


def growth(
    points: Sequence[PointRecord],
    objectives: Sequence[Metric],
    constraints: Constraints,
    reference: Mapping[str, float],
) -> list[Growth]:
    """Each change of the front, in the order of the points' commits."""
    tracker = FrontTracker(objectives, reference)
    meets = {id(p) for p in feasible(points, constraints)}
    return [
        Growth(
            points=number,
            reported_ms=point.reported_ms,
            hypervolume=tracker.hypervolume,
            front_size=len(tracker.points),
        )
        for number, point in enumerate(points, start=1)
        if id(point) in meets and tracker.add(point)
    ]
