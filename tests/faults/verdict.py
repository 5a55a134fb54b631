"""What must hold of a search after any fault, read from its store and from MLflow by plain SQL, not by our own code."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, inspect, text

ENDED = {"complete": "FINISHED", "stopped": "FINISHED", "failed": "FAILED", "infeasible": "FAILED"}  # as MLflow has it


@dataclass(frozen=True, kw_only=True)
class Trial:
    state: str
    reason: str | None
    attempts: int
    horizon: int  # epochs


@dataclass(frozen=True, kw_only=True)
class Record:
    """A study as its store has it at a moment."""

    state: str
    trials: Mapping[int, Trial]
    points: list[tuple[int, int, dict[str, float]]]  # trial, epoch, metrics; in the order of their commits
    waiting: int  # changes that MLflow has not been sent
    delivery_error: str | None

    @property
    def keys(self) -> set[tuple[int, int]]:
        return {(trial, epoch) for trial, epoch, _ in self.points}

    @property
    def front(self) -> list[tuple[float, float]]:
        """(accuracy, train_time_s) of the points that none beats; those of failed trials count too, as in a study."""
        worth = [(m["accuracy"], m["train_time_s"]) for _, _, m in self.points]
        return [one for one in worth if not any(_beats(other, one) for other in worth)]


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] >= other[0] and one[1] <= other[1]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run as MLflow's database has it; deleted ones count too."""

    trial: int | None  # None: the study's own
    status: str
    metrics: Mapping[tuple[str, int], list[float]]  # by name and epoch: every value that was sent


def read_record(url: str, study: str = "faults") -> Record | None:
    """None where there is no such study yet."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:

            def ask(sql: str, **values: Any) -> list[Any]:
                return list(connection.execute(text(sql), values))

            found = ask("SELECT id, state, delivery_error FROM tune_cnn_studies WHERE name = :name", name=study)
            if not found:
                return None
            key, state, error = found[0]
            trials = ask(
                "SELECT number, state, reason, attempts, params FROM tune_cnn_trials WHERE study_id = :k", k=key
            )
            points = ask("SELECT trial, epoch, metrics FROM tune_cnn_points WHERE study_id = :k ORDER BY id", k=key)
            waiting = ask("SELECT count(*) FROM tune_cnn_changes WHERE study_id = :k", k=key)[0][0]
    finally:
        engine.dispose()
    return Record(
        state=state,
        trials={
            t[0]: Trial(state=t[1], reason=t[2], attempts=t[3], horizon=int(json.loads(t[4])["epochs"])) for t in trials
        },
        points=[(trial, epoch, json.loads(metrics)) for trial, epoch, metrics in points],
        waiting=waiting,
        delivery_error=error,
    )


def read_runs(database: Path, study: str = "faults") -> list[Run]:
    """None where nothing has been delivered yet: MLflow makes its database late."""
    engine = create_engine(f"sqlite:///{database}")
    try:
        with engine.connect() as connection:
            if "runs" not in inspect(connection).get_table_names():
                return []
            runs = list(
                connection.execute(
                    text(
                        "SELECT r.run_uuid, r.status, t.value FROM runs r JOIN experiments e USING (experiment_id) "
                        "LEFT JOIN tags t ON t.run_uuid = r.run_uuid AND t.key = 'tune_cnn.trial' WHERE e.name = :name"
                    ),
                    {"name": study},
                )
            )
            sent = list(connection.execute(text("SELECT run_uuid, key, step, value FROM metrics WHERE is_nan = 0")))
    finally:
        engine.dispose()
    metrics: dict[str, dict[tuple[str, int], list[float]]] = {}
    for run, name, step, value in sent:
        metrics.setdefault(run, {}).setdefault((name, step), []).append(value)
    return [
        Run(trial=None if trial is None else int(trial), status=status, metrics=metrics.get(run, {}))
        for run, status, trial in runs
    ]


def wrongs(record: Record, runs: list[Run], *, trials: int, before: Record | None, may_fail: int = 0) -> Iterator[str]:
    """What does not hold, a line each; nothing where all is well.

    `before`: the record at the moment of the fault. `may_fail`: trials whose failure is the fault's own.
    """
    yield from _epochs(record, trials, may_fail)
    yield from _mlflow(record, runs)
    if before is not None:
        yield from _kept(record, before)


def _epochs(record: Record, trials: int, may_fail: int) -> Iterator[str]:
    if record.state != "finished":
        yield f"the study is {record.state}"
    if set(record.trials) != set(range(trials)):
        yield f"trials {sorted(record.trials)} instead of {trials}"
    failed = [n for n, trial in record.trials.items() if trial.state in {"failed", "infeasible"}]
    if len(failed) > may_fail:
        yield f"failed: {', '.join(f'{n} ({record.trials[n].reason})' for n in failed)}"
    counts = Counter((trial, epoch) for trial, epoch, _ in record.points)
    for (trial, epoch), count in counts.items():
        if count > 1:
            yield f"trial {trial} epoch {epoch} stands {count} times"
    for number, trial in record.trials.items():
        if trial.state not in ENDED:
            yield f"trial {number} is {trial.state}"
        epochs = sorted(epoch for of, epoch in counts if of == number)
        if epochs != list(range(1, len(epochs) + 1)):
            yield f"trial {number} lacks epochs: {epochs}"
        if trial.state == "complete" and len(epochs) != trial.horizon:
            yield f"trial {number} is complete with {len(epochs)} of {trial.horizon} epochs"


def _mlflow(record: Record, runs: list[Run]) -> Iterator[str]:
    if record.waiting:
        yield f"{record.waiting} changes wait for MLflow"
    of = Counter(run.trial for run in runs)
    if not runs:
        yield "MLflow holds no run"
        return
    for trial, count in of.items():
        if count > 1:
            yield f"MLflow has {count} runs of {'the study' if trial is None else f'trial {trial}'}"
    if set(of) != {None, *record.trials}:
        yield f"MLflow has runs of {sorted(t for t in of if t is not None)}, the store {sorted(record.trials)}"
    for run in runs:
        if run.trial is None:
            if run.status != "FINISHED":
                yield f"MLflow: the study's run is {run.status}"
            continue
        if run.trial not in record.trials:
            continue
        state = record.trials[run.trial].state
        if run.status != ENDED.get(state):
            yield f"MLflow: trial {run.trial} is {run.status}, in the store {state}"
        yield from _same_points(run, {e: m for t, e, m in record.points if t == run.trial})


def _same_points(run: Run, points: Mapping[int, Mapping[str, float]]) -> Iterator[str]:
    for name in ("accuracy", "train_time_s", "val_loss"):
        there = {step: values for (key, step), values in run.metrics.items() if key == name}
        if set(there) != set(points):
            yield f"MLflow: trial {run.trial} has {name} of epochs {sorted(there)}, the store of {sorted(points)}"
        for epoch, values in there.items():
            if len(values) > 1:
                yield f"MLflow: trial {run.trial} epoch {epoch} has {len(values)} values of {name}"
            if epoch in points and values[0] != points[epoch].get(name):
                yield f"MLflow: trial {run.trial} epoch {epoch} has {name} {values[0]}, the store {points[epoch]}"


def _kept(record: Record, before: Record) -> Iterator[str]:
    now = {(trial, epoch): metrics for trial, epoch, metrics in record.points}
    for trial, epoch, metrics in before.points:
        if now.get((trial, epoch)) != metrics:
            yield f"trial {trial} epoch {epoch} was committed before the fault, and is lost or another"
    for point in before.front:
        if not any(other == point or _beats(other, point) for other in record.front):
            yield f"the front has lost accuracy {point[0]:.4f} in {point[1]:.4g} s"
