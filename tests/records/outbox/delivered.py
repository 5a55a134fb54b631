"""A made-up study, delivered to a real MLflow, and what stands there then."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tune_cnn.records.mlflow.environment import make_quiet
from tune_cnn.records.store import Store
from tune_cnn.states import TrialState

make_quiet("")  # before mlflow is imported, which would phone home
from mlflow import MlflowClient  # noqa: E402  (after make_quiet)
from mlflow.entities import Run, ViewType  # noqa: E402  (after make_quiet)

from tune_cnn.records.mlflow.client import Server  # noqa: E402  (after make_quiet)
from tune_cnn.records.outbox.delivery import Delivery  # noqa: E402  (after make_quiet)

ALL = ViewType.ALL
SPEC: dict[str, Any] = {
    "study": "s",
    "data": {"name": "digits", "root": "/images"},
    "model": {"name": "lenet5"},
    "space": {"batch_size": [32, 64], "epochs": 3},
    "budget": {"trials": 9},
}
FIRST, SECOND = "t0000 bs32", "t0001 bs64"  # the names of the made-up trials' runs


def two_trials(home: Path, name: str) -> Store:
    """Two trials of three epochs; trial 0 is slower and better, so both are on the front."""
    store = Store(home)
    store.create_study(name, {**SPEC, "study": name}, info={"data": {"key": "0123abc", "classes": 10}})
    for trial in (0, 1):
        params = {"batch_size": 32 * (trial + 1), "model.note": "x" * (7_000 * trial)}
        store.add_trial(name, trial, params, seed=trial)
        for epoch in (1, 2, 3):
            metrics = {
                "accuracy": 0.3 * epoch - 0.05 * trial,
                "train_time_s": epoch * (2.0 - trial),
                "odd:é!": math.nan,
                "val_loss": math.inf,
            }
            store.add_point(name, trial, epoch, metrics)
    store.end_trial(name, 0, TrialState.COMPLETE)
    store.update_study(name, reference={"accuracy": 0.0, "train_time_s": 100.0})
    return store


def send(store: Store, name: str, tracking: str, **how: Any) -> Delivery:
    delivery = Delivery(store, name, Server(tracking), **how)
    while delivery.deliver():
        pass
    delivery.settle(ended=True)
    return delivery


def runs(tracking: str, name: str, filter_string: str = "", view: int = ViewType.ACTIVE_ONLY) -> dict[str, Run]:
    """By the run's name; a doubled one fails."""
    client = MlflowClient(tracking)
    experiment = client.get_experiment_by_name(name)
    found = client.search_runs([experiment.experiment_id], filter_string, view)
    assert len({run.info.run_name for run in found}) == len(found), "a run is doubled"
    return {run.info.run_name: run for run in found}


def all_delivered(store: Store, name: str, tracking: str) -> None:
    """Everything that the store holds stands in MLflow, and no row twice. Asks a server that is well."""
    client = MlflowClient(tracking)
    found = {run.data.tags.get("tune_cnn.trial"): run for run in runs(tracking, name, view=ALL).values()}
    assert set(found) == {None, *(str(trial.number) for trial in store.trials(name))}
    for trial in store.trials(name):
        run = found[str(trial.number)]
        assert {k: len(v) for k, v in run.data.params.items()} == {
            k: min(len(str(v)), 6_000) for k, v in trial.params.items()
        }
        assert run.data.tags["tune_cnn.state"] == trial.state
        points = [point for point in store.points(name) if point.trial == trial.number]
        for metric in points[0].metrics if points else ():
            key = "odd_é_" if metric.startswith("odd") else metric
            rows = client.get_metric_history(run.info.run_id, key)
            delivered = sorted((m.step, m.timestamp, *_plain(m.value)) for m in rows)
            assert delivered == sorted((p.epoch, p.reported_ms, *_plain(p.metrics[metric])) for p in points)


def _plain(value: float) -> Iterator[float]:
    """MLflow's tables hold no NaN, and the largest number for infinity."""
    yield 0.0 if math.isnan(value) else min(value, 1.7976931348623157e308)
