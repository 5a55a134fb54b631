"""What a study knows of its configurations' costs: where they hold, and what ended trials tell of them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from statistics import median

from tune_cnn.metrics import EpochPoint, last_points
from tune_cnn.records.costs import KnownCost, setup_key
from tune_cnn.records.document import StudyArchive
from tune_cnn.records.rows import TrialRecord
from tune_cnn.records.store import Store
from tune_cnn.spec import StudySpec
from tune_cnn.spec.costs import Cost, cost_key
from tune_cnn.states import TrialState
from tune_cnn.study.machine import ACCELERATOR, machine_of, of_phase, on_type
from tune_cnn.untyped import Plain


def setup_of(spec: StudySpec, info: Mapping[str, Plain], **slots: object) -> dict[str, Plain]:
    """All that decides a cost beside the configuration itself; `info` is what `preflight.check` found.

    `slots` and `gpus_per_rank` belong to it, since trials that share hardware slow each other; another phase's are
    given by name.
    """
    return {
        **_inspected(info),
        "hardware": {**info["hardware"], **slots},
        "model": spec.model.model_dump(),
        "training": spec.training,
        "metrics": {name: metric.call for name, metric in spec.metrics.items()},
        "resources": spec.resources.model_dump(include={"ranks", "cpus_per_trial", "deterministic", "capture_steps"}),
    }


def place_of(info: Mapping[str, Plain]) -> str:
    """A short name for what a trial ran with that may be another after a resume: machine, software, code, images."""
    return setup_key({**_inspected(info), "hardware": machine_of(info)["hardware"]})[:16]


def _inspected(info: Mapping[str, Plain]) -> dict[str, Plain]:
    """The part that `preflight.check` finds, without the hardware: our own version among it, for its defaults."""
    data, versions = info.get("data", {}), info.get("versions", {})
    return {
        "data": data.get("key"),
        "images": [data.get(name) for name in ("train_images", "validation_images", "image_size")],
        "torch": versions.get("torch"),
        "tune_cnn": versions.get("tune-cnn"),
        "code": info.get("code"),
    }


def keep_costs(store: Store, spec: StudySpec, archive: StudyArchive) -> None:
    """Store what a study's trials cost, for dry runs and other studies: after its search, off the search's path.

    A search that dies before has its costs in its points, and learns them from there. What trained before a resume on
    another machine or with other versions is left out: `info` is that of the last start.
    """
    info = archive.study.info
    phases: dict[tuple[Plain, ...], list[TrialRecord]] = {}
    # `place` is that of a trial's start: one that was resumed may have trained elsewhere too
    for trial in (one for one in archive.trials if one.attempts == 1):
        phase = tuple(trial.extra.get(name) for name in ("slots", "gpu_share", "power_limit_w", ACCELERATOR))
        if trial.extra.get("place") == place_of(on_type(info, phase[-1])):
            phases.setdefault(phase, []).append(trial)
    for phase, trials in phases.items():
        setup = setup_of(spec, on_type(info, phase[-1]), **of_phase(*phase))
        store.costs.keep(setup, of_trials(spec, trials, archive.points, train_images=info["data"]["train_images"]))


def of_trials(
    spec: StudySpec, trials: Sequence[TrialRecord], points: Iterable[EpochPoint], *, train_images: int
) -> list[KnownCost]:
    """What ended trials cost, one entry for all that cost the same: medians of seconds, the largest memory.

    It fits where most of them did. A strategy may change the net late in a trial, so one that was stopped early tells
    too little where there are any.
    """
    last = last_points(points)
    alike: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        if trial.state is TrialState.INFEASIBLE or (trial.number in last and _is_whole(spec, trial)):
            alike.setdefault(cost_key({**spec.fixed, **trial.params}), []).append(trial)
    found = []
    for group in alike.values():
        params = {**spec.fixed, **group[0].params}
        batch_size = spec.configuration(group[0].params).batch_size
        steps = math.ceil(train_images / batch_size)
        reached = [last[trial.number] for trial in group if trial.number in last]
        reasons = [trial.reason for trial in group if trial.state is TrialState.INFEASIBLE]
        reason = reasons[0] if reasons and len(reasons) >= len(group) / 2 else None
        found.append(KnownCost(params=params, cost=_cost(reached, steps), reason=reason))
    return found


def _is_whole(spec: StudySpec, trial: TrialRecord) -> bool:
    return trial.state is TrialState.COMPLETE or not spec.configuration(trial.params).strategies_on


def typical(costs: Sequence[Cost]) -> Cost:
    """Of several measurements of one configuration, the medians, and the largest memory."""
    values = {f.name: [v for cost in costs if (v := getattr(cost, f.name)) is not None] for f in fields(Cost)}
    return replace(
        Cost(**{name: _median(known) for name, known in values.items()}),
        peak_memory_mib=max(values["peak_memory_mib"], default=None),
    )


def _cost(last: Sequence[EpochPoint], steps: int) -> Cost:
    """Of trials that cost the same, from the last epoch of each; `steps` are an epoch's."""

    def known(name: str) -> list[tuple[EpochPoint, float]]:
        return [(point, point.metrics[name]) for point in last if name in point.metrics]

    starts = [p.metrics.get("compile_time_s", 0.0) + p.metrics.get("loader_start_s", 0.0) for p in last]
    return Cost(
        step_time_s=_median(seconds / point.epoch / steps for point, seconds in known("train_time_s")),
        steps_per_epoch=float(steps),
        eval_time_s=_median(seconds / point.epoch for point, seconds in known("eval_time_s")),
        peak_memory_mib=max((memory for _, memory in known("peak_memory_mib")), default=None),
        start_time_s=_median(starts),
    )


def _median(values: Iterable[float]) -> float | None:
    known = list(values)
    return median(known) if known else None
