"""What a point is worth on another type of accelerator: its metrics from probes there and from what was learned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tune_cnn.errors import InputError
from tune_cnn.front.confirmed import Confirmed
from tune_cnn.front.constraints import feasible
from tune_cnn.front.dominance import front
from tune_cnn.front.transfer import Carried, carried_time, carried_value, front_chances, pooled
from tune_cnn.metrics import EpochPoint, Metric
from tune_cnn.records.document import StudyArchive
from tune_cnn.spec import StudySpec
from tune_cnn.spec.costs import Cost
from tune_cnn.states import RunState
from tune_cnn.study.archive import confirmed_of
from tune_cnn.untyped import Plain

# What a probe tells of a training; all positive, and on the logarithm's scale.
PREDICTED = frozenset(
    {
        "train_time_s", "total_time_s", "eval_time_s", "step_time_ms", "images_per_s", "peak_memory_mib", "gpu_seconds",
    }
)  # fmt: skip
# What a card doesn't change but for the order of sums.
CARRIED = frozenset(
    {
        "accuracy", "val_loss", "train_loss", "parameters", "train_gflops", "inference_gflops", "skipped_steps",
        "grad_underflow_pct",
    }
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Probed:
    """One point's configuration on the other type: what each probe found, or why it can't be trained there."""

    costs: Sequence[Cost] = ()
    reason: str | None = None
    epochs: float = 0.0  # of the probed kind that the point's training took: its own, unless a strategy changes them


@dataclass(frozen=True, kw_only=True)
class Row:
    """A point there; nothing is predicted where it can't be trained."""

    point: EpochPoint
    predicted: Mapping[str, Carried]
    carried: Mapping[str, Carried]
    reason: str | None
    on_front: bool = False
    front_probability: float | None = None

    @property
    def values(self) -> Mapping[str, Carried]:
        return {**self.carried, **self.predicted}


def check_objectives(spec: StudySpec, accelerator: str) -> list[str]:
    """InputError where an objective holds for one card alone and no probe measures it; notes on what isn't held."""
    own = set(spec.metrics)
    for name in spec.objectives:
        if name not in PREDICTED | CARRIED | own:
            raise InputError(
                f"transfer: the objective {name} is another on every card, and twenty steps don't tell it; "
                f"`confirm --accelerator {accelerator}` measures it, by training the front's points there"
            )
    notes = [
        f"{n} is your own metric and is taken to be the same on {accelerator}" for n in spec.objectives if n in own
    ]
    unheld = [name for name in spec.constraints if name not in PREDICTED | CARRIED | own]
    return notes + [f"the constraint on {name} is not held against anything: no probe tells it" for name in unheld]


def carried_rows(
    archive: StudyArchive, spec: StudySpec, points: Sequence[EpochPoint], probed: Mapping[tuple[int, int], Probed]
) -> list[Row]:
    """The points there, those on the predicted front marked; `probed`: by trial and epoch."""
    confirmed = {one.key: one for one in confirmed_of(archive, spec)}
    runs: dict[tuple[int, int], list[Mapping[str, float]]] = {}
    for run in archive.confirmations:
        if run.state is RunState.COMPLETE:
            runs.setdefault(run.key, []).append(run.metrics)
    rows = [
        Row(
            point=point,
            predicted=_predicted(spec, archive, point, probed[point.trial, point.epoch]),
            carried=_carried(spec, point, confirmed.get((point.trial, point.epoch)), list(runs.values())),
            reason=probed[point.trial, point.epoch].reason,
        )
        for point in points
    ]
    return _judged(rows, spec)


def _predicted(spec: StudySpec, archive: StudyArchive, point: EpochPoint, probed: Probed) -> dict[str, Carried]:
    """Of the objectives and constraints, and of what is always wanted to know."""
    wanted = {*spec.objectives, *spec.constraints, "train_time_s", "peak_memory_mib"} & PREDICTED
    trial = next(trial for trial in archive.trials if trial.number == point.trial)
    gpus = float(trial.extra.get("gpu_share", 0.0)) * spec.resources.ranks
    batch_size = spec.configuration(trial.params).batch_size
    each = [metrics_of(cost, epochs=probed.epochs, batch_size=batch_size, gpus=gpus) for cost in probed.costs]
    values = {name: [one[name] for one in each if one.get(name, 0.0) > 0] for name in sorted(wanted)}
    return {name: carried_time(known) for name, known in values.items() if known}


def metrics_of(cost: Cost, *, epochs: float, batch_size: int, gpus: float) -> dict[str, float]:
    """What one probe alone would predict of a training of so many epochs; what it didn't measure is absent."""
    found: dict[str, float] = {}
    if cost.step_time_s:
        found |= {"step_time_ms": cost.step_time_s * 1000, "images_per_s": batch_size / cost.step_time_s}
    if cost.epoch_time_s is not None:
        train_s, eval_s = cost.epoch_time_s * epochs, (cost.eval_time_s or 0.0) * epochs
        found |= {"train_time_s": train_s, "eval_time_s": eval_s, "gpu_seconds": gpus * train_s}
        found["total_time_s"] = train_s + eval_s + (cost.start_time_s or 0.0)
    if cost.peak_memory_mib is not None:
        found["peak_memory_mib"] = cost.peak_memory_mib
    return found


def _carried(
    spec: StudySpec, point: EpochPoint, confirmed: Confirmed | None, runs: Sequence[Sequence[Mapping[str, float]]]
) -> dict[str, Carried]:
    names = ({*spec.objectives, *spec.constraints, "accuracy"} & (CARRIED | set(spec.metrics))) & point.metrics.keys()
    found = {}
    for name in sorted(names):
        spread = pooled([[metrics[name] for metrics in of if name in metrics] for of in runs])
        of = None if confirmed is None else confirmed.predictions.get(name)
        found[name] = _possible(name, carried_value(point.metrics[name], of, spread))
    return found


def _possible(name: str, of: Carried) -> Carried:
    """A share of images is none at least and all at most."""
    if name != "accuracy" or of.low is None or of.high is None:
        return of
    return Carried(value=of.value, low=max(of.low, 0.0), high=min(of.high, 1.0))


def _judged(rows: Sequence[Row], spec: StudySpec) -> list[Row]:
    """With the predicted front: of what can be trained there and keeps the constraints, as far as they are known."""
    objectives: list[Metric] = spec.objective_metrics
    whole = [row for row in rows if row.reason is None and all(m.name in row.values for m in objectives)]
    there = {
        (row.point.trial, row.point.epoch): EpochPoint(
            trial=row.point.trial, epoch=row.point.epoch, metrics={n: v.value for n, v in row.values.items()}
        )
        for row in whole
    }
    bounds = {name: bound for name, bound in spec.bounds.items() if all(name in row.values for row in whole)}
    meets = {(p.trial, p.epoch) for p in feasible(list(there.values()), bounds)}
    on_front = {(p.trial, p.epoch) for p in front([there[key] for key in there if key in meets], objectives)}
    judged = [row for row in whole if (row.point.trial, row.point.epoch) in meets]
    chances = front_chances([row.values for row in judged], objectives) if judged else []
    chance = {(r.point.trial, r.point.epoch): c for r, c in zip(judged, chances, strict=True)}
    return [
        Row(**{**vars(row), "on_front": key in on_front, "front_probability": chance.get(key)})
        for row in rows
        for key in [(row.point.trial, row.point.epoch)]
    ]


def as_plain(row: Row, params: Mapping[str, Plain], *, was_on_front: bool) -> dict[str, Plain]:
    """For --json and the store."""
    accuracy = row.carried.get("accuracy")
    return {
        "trial": row.point.trial,
        "epoch": row.point.epoch,
        "params": dict(params),
        "accuracy": None if accuracy is None else accuracy.as_dict(),
        "predicted": {name: of.as_dict() for name, of in row.predicted.items()},
        "carried": {name: of.as_dict() for name, of in row.carried.items() if name != "accuracy"},
        "on_front": row.on_front,
        "front_probability": row.front_probability,
        "was_on_front": was_on_front,
        "reason": row.reason,
    }
