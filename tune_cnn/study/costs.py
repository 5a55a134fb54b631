"""What a study knows of its configurations' costs: where they hold, and what ended trials tell of them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from tune_cnn.objectives import EpochPoint
from tune_cnn.records.costs import KnownCost
from tune_cnn.records.document import StudyArchive
from tune_cnn.records.rows import TrialRecord
from tune_cnn.records.store import Store
from tune_cnn.spec import StudySpec
from tune_cnn.spec.costs import Cost, cost_key


def setup_of(spec: StudySpec, info: Mapping[str, Any], **slots: Any) -> dict[str, Any]:
    """All that decides a cost beside the configuration itself; `info` is what `preflight.check` found.

    `slots` and `gpus_per_rank` belong to it, since trials that share hardware slow each other; another phase's are
    given by name.
    """
    return {
        "data": info["data"]["key"],
        "images": (info["data"]["train_images"], info["data"]["validation_images"], info["data"]["image_size"]),
        "model": spec.model.model_dump(),
        "training": spec.training,
        "metrics": {name: metric.call for name, metric in spec.metrics.items()},
        "resources": spec.resources.model_dump(include={"ranks", "cpus_per_trial", "deterministic"}),
        "hardware": {**info["hardware"], **slots},
        "torch": info["versions"].get("torch"),
    }


def keep_costs(store: Store, spec: StudySpec, archive: StudyArchive) -> None:
    """Store what a study's trials cost, for dry runs and other studies: after its search, off the search's path.

    A search that dies before has its costs in its points, and learns them from there.
    """
    info = archive.study.info
    if not {"train_images", "validation_images", "image_size"} <= info.get("data", {}).keys():
        return  # read back from MLflow, or written by an earlier release
    phases: dict[tuple[Any, Any], list[TrialRecord]] = {}
    for trial in archive.trials:
        phases.setdefault((trial.extra.get("slots"), trial.extra.get("gpu_share")), []).append(trial)
    for (slots, share), trials in phases.items():
        setup = setup_of(spec, info, slots=slots, gpus_per_rank=share)
        store.costs.keep(setup, of_trials(spec, trials, archive.points, train_images=info["data"]["train_images"]))


def of_trials(
    spec: StudySpec, trials: Sequence[TrialRecord], points: Iterable[EpochPoint], *, train_images: int
) -> list[KnownCost]:
    """What ended trials cost, one entry for all that cost the same: medians of seconds, the largest memory."""
    last: dict[int, EpochPoint] = {}
    for point in points:
        if point.trial not in last or point.epoch > last[point.trial].epoch:
            last[point.trial] = point
    alike: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        if trial.number in last or trial.state == "infeasible":
            alike.setdefault(cost_key({**spec.fixed, **trial.params}), []).append(trial)
    found = []
    for group in alike.values():
        params = {**spec.fixed, **group[0].params}
        batch_size = spec.configuration(group[0].params).batch_size
        steps = math.ceil(train_images / batch_size)
        reached = [last[trial.number] for trial in group if trial.number in last]
        reasons = [trial.reason for trial in group if trial.state == "infeasible"]
        found.append(KnownCost(params=params, cost=_cost(reached, steps), reason=reasons[0] if reasons else None))
    return found


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
