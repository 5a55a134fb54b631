"""Front candidates trained again over several seeds: what a fresh run of each gives, and which are on the front."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tune_cnn.front.constraints import feasible
from tune_cnn.front.dominance import best_first, costs, front, raw_values
from tune_cnn.front.prediction import Prediction, front_probabilities, predict
from tune_cnn.metrics import METRICS, TEST, Direction, EpochPoint, Metric, unusable
from tune_cnn.states import RunState
from tune_cnn.untyped import Plain


@dataclass(frozen=True, kw_only=True)
class SeedRun:
    """A candidate trained once more, with a seed of its own; `planned` until it has ended."""

    trial: int
    epoch: int  # the stop epoch
    number: int  # among the candidate's runs, from 0
    seed: int
    state: RunState = RunState.PLANNED
    reason: str | None = None  # why it failed
    metrics: Mapping[str, float] = field(default_factory=dict)  # after the stop epoch; of a run that is complete

    @property
    def key(self) -> tuple[int, int]:
        return self.trial, self.epoch


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """A candidate of which at least one run is complete."""

    trial: int
    epoch: int
    predictions: Mapping[str, Prediction]
    seeds: int  # runs that are complete
    planned: int  # runs that are still to come
    failures: tuple[str, ...]  # reasons of the runs that failed
    on_front: bool  # by its means no other confirmed candidate is better
    probability: float | None  # that a fresh run ends, on the front of fresh runs; None while its spread is unknown

    @property
    def key(self) -> tuple[int, int]:
        return self.trial, self.epoch

    @property
    def point(self) -> EpochPoint:
        """Its means, as the epoch point that they stand for; without the test split's, which nothing is chosen by."""
        means = {name: of.mean for name, of in self.predictions.items() if name not in TEST}
        return EpochPoint(trial=self.trial, epoch=self.epoch, metrics=means)

    @property
    def chance(self) -> str:
        """How often a fresh run is on the front of fresh runs; "yes" and "no" by the means, where that is not known."""
        if self.probability is None:
            return "yes" if self.on_front else "no"
        return f"{self.probability:.0%}"

    def as_dict(self) -> dict[str, Plain]:
        """For --json."""
        return {
            "seeds": self.seeds,
            "planned": self.planned,
            "failed": list(self.failures),
            "on_front": self.on_front,
            "front_probability": self.probability,
            "metrics": {name: of.as_dict() for name, of in self.predictions.items()},
        }


def confirmed(
    runs: Sequence[SeedRun],
    objectives: Sequence[Metric],
    constraints: Mapping[str, Mapping[str, float]],
    own: Mapping[str, Metric] | None = None,
    *,
    images: Mapping[str, Plain] | None = None,
) -> list[Confirmed]:
    """The candidates with a complete run, in the order of `front`; `own`: the user's metrics.

    `images`: how many the splits have, as the study's facts about its data tell it; they are the steps of accuracies.

    Constraints are held against the means: what misses one is not on the front, like a point that was searched.
    """
    groups = _by_candidate(runs)
    whole = {key: done for key, mine in groups.items() if (done := [r for r in mine if r.state is RunState.COMPLETE])}
    steps = _steps(images or {})
    found = [_of_runs(groups[key], done, objectives, own or {}, steps) for key, done in whole.items()]
    meets = feasible([one.point for one in found], constraints)
    on_front = {(p.trial, p.epoch) for p in front(meets, objectives)}
    drawn = {
        key: {m.name: [run.metrics[m.name] for run in done] for m in objectives}
        for key, done in whole.items()
        if key in {(p.trial, p.epoch) for p in meets}
    }
    lost = {one.key: len(one.failures) / (len(one.failures) + one.seeds) for one in found}
    chances = front_probabilities(
        list(drawn.values()),
        objectives,
        rng=np.random.default_rng(0),  # the same at every look
        failing=[lost[key] for key in drawn],
        resolutions=steps,
    )
    probability = dict(zip(drawn, chances, strict=True))
    told = [
        Confirmed(**{**vars(one), "on_front": one.key in on_front, "probability": probability.get(one.key)})
        for one in found
    ]
    return _in_order(told, objectives)


def _by_candidate(runs: Sequence[SeedRun]) -> dict[tuple[int, int], list[SeedRun]]:
    groups: dict[tuple[int, int], list[SeedRun]] = {}
    for run in runs:
        groups.setdefault(run.key, []).append(run)
    return groups


def _steps(images: Mapping[str, Plain]) -> dict[str, float]:
    counts = {"accuracy": images.get("validation_images"), "test_accuracy": images.get("test_images")}
    return {name: 1 / count for name, count in counts.items() if count}


def _of_runs(
    mine: Sequence[SeedRun],
    done: Sequence[SeedRun],
    objectives: Sequence[Metric],
    own: Mapping[str, Metric],
    steps: Mapping[str, float],
) -> Confirmed:
    names = dict.fromkeys([m.name for m in objectives] + [name for run in done for name in run.metrics])
    predictions = {}
    for name in names:
        values = [v for run in done if math.isfinite(v := run.metrics.get(name, math.nan))]
        if values:
            predictions[name] = predict(values, scale_of(name, own), resolution=steps.get(name, 0.0))
    return Confirmed(
        trial=mine[0].trial,
        epoch=mine[0].epoch,
        predictions=predictions,
        seeds=len(done),
        planned=sum(run.state is RunState.PLANNED for run in mine),
        failures=tuple(run.reason or run.state for run in mine if run.state.is_failure),
        on_front=False,
        probability=None,
    )


def scale_of(name: str, own: Mapping[str, Metric]) -> Metric | None:
    """The metric whose scale and bounds hold; what is measured on the test split is like what is on the validation."""
    alike = {"test_accuracy": "accuracy", "test_loss": "val_loss"}
    return {**METRICS, **own}.get(alike.get(name, name))


def _in_order(told: Sequence[Confirmed], objectives: Sequence[Metric]) -> list[Confirmed]:
    if not told:
        return []
    points = [one.point for one in told]
    costs_nk = costs(raw_values(points, [m.name for m in objectives]), objectives)[:, ::-1]
    return [told[k] for k in best_first(points, costs_nk)]


def failed_candidates(runs: Sequence[SeedRun]) -> dict[tuple[int, int], list[str]]:
    """The candidates of which every run failed, with the reasons: they are not confirmed."""
    return {
        key: [run.reason or run.state for run in mine]
        for key, mine in _by_candidate(runs).items()
        if all(run.state.is_failure for run in mine)
    }


def overtaking(one: Confirmed, untried: Sequence[EpochPoint], objectives: Sequence[Metric]) -> EpochPoint | None:
    """A point that was only searched, and better in every objective than a fresh run of `one` is likely to be.

    The best of them in the first objective. It may have been lucky: only confirming it tells.
    """
    names = [m.name for m in objectives]
    best = EpochPoint(trial=one.trial, epoch=one.epoch, metrics={m.name: _best_end(one, m) for m in objectives})
    costs_nk = costs(raw_values(untried, names), objectives)
    ahead_n = (costs_nk < costs(raw_values([best], names), objectives)).all(axis=1)
    ahead = [untried[at] for at in np.flatnonzero(ahead_n).tolist()]
    return ahead[best_first(ahead, costs_nk[ahead_n])[0]] if ahead else None


def _best_end(one: Confirmed, metric: Metric) -> float:
    """Of its interval, where there is one."""
    of = one.predictions[metric.name]
    end = of.high if metric.direction is Direction.MAX else of.low
    return of.mean if end is None else end


def run_end(metrics: Mapping[str, float], objectives: Sequence[Metric]) -> tuple[RunState, str | None]:
    """How a run that was trained to its end counts: it fails where an objective is no number."""
    why = unusable(metrics, [m.name for m in objectives])
    return (RunState.COMPLETE, None) if why is None else (RunState.FAILED, why)
