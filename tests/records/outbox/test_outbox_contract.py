"""What MLflow holds of a study."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path

import pytest
from mlflow import MlflowClient
from records.outbox.delivered import ALL, FIRST, SECOND, runs, send

from tune_cnn.records.mlflow.client import Server
from tune_cnn.records.mlflow.description import odd_free, trial_name
from tune_cnn.records.rows import TrialRecord
from tune_cnn.records.store import Store
from tune_cnn.states import StudyState, TrialState


def test_a_study_is_written_as_the_contract_says(store: Store, name: str, tracking: str) -> None:
    """A parent, a child per trial, params, metrics by epoch with the stored times, tags, status, artifacts, dataset."""
    (store_file := Path(store.shown).with_name("r.html")).write_text("<p>")
    store.deliveries.add_artifact(name, store_file, "report/report.html")
    send(store, name, tracking)
    found, client = runs(tracking, name), MlflowClient(tracking)
    parent, child = found[name], found[FIRST]
    record = store.study(name)
    assert record is not None and record.run_id == parent.info.run_id and store.deliveries.count(name) == 0
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    wanted = {"tune_cnn.study": name, "tune_cnn.trial": "0", "tune_cnn.state": "complete"}
    assert wanted.items() <= child.data.tags.items() and "tune_cnn.reason" not in child.data.tags
    assert (child.info.status, found[SECOND].info.status, parent.info.status) == (
        "FINISHED",
        "RUNNING",
        "RUNNING",
    )
    assert child.data.params["batch_size"] == "32" and parent.data.params["epochs"] == "3"
    history = client.get_metric_history(child.info.run_id, "accuracy")
    stored = [p for p in store.points(name) if p.trial == 0]
    assert [(m.step, m.value, m.timestamp) for m in history] == [
        (p.epoch, p.metrics["accuracy"], p.reported_ms) for p in stored
    ]
    assert math.isnan(child.data.metrics["odd_é_"])
    files = {f.path for f in client.list_artifacts(parent.info.run_id)}
    assert files == {"points.json", "spec.yaml", "report"}
    dataset = parent.inputs.dataset_inputs[0].dataset
    assert (dataset.name, dataset.digest) == ("digits", "0123abc")
    assert "**lenet5** on **digits**" in parent.data.tags["mlflow.note.content"]
    assert client.get_metric_history(parent.info.run_id, "hypervolume")[-1].value == pytest.approx(
        parent.data.metrics["hypervolume"]
    )


def test_a_long_parameter_is_whole_in_an_artifact(store: Store, name: str, tracking: str) -> None:
    send(store, name, tracking)
    run, server = runs(tracking, name)[SECOND], Server(tracking)
    assert len(run.data.params["model.note"]) == 6_000
    assert json.loads(server.download_text(run.info.run_id, "params.json"))["model.note"] == "x" * 7_000


def test_the_front_is_found_by_its_tag(store: Store, name: str, tracking: str) -> None:
    """`front` while a trial is on it, with its epochs and what the chosen one reached; gone when it is beaten."""
    delivery = send(store, name, tracking)
    found = runs(tracking, name, "tags.front = 'true'")
    assert {n: r.data.tags["front_epochs"] for n, r in found.items()} == {FIRST: "3", SECOND: "1,2,3"}
    assert found[FIRST].data.metrics["front.accuracy"] == pytest.approx(0.9)
    store.add_trial(name, 2, {}, seed=2)
    store.add_point(name, 2, 1, {"accuracy": 0.95, "train_time_s": 0.5})
    delivery.deliver()
    assert list(runs(tracking, name, "tags.front = 'true'")) == ["t0002"]
    beaten = runs(tracking, name)[FIRST]
    assert not {"front", "front_epochs"} & beaten.data.tags.keys()
    assert math.isnan(beaten.data.metrics["front.accuracy"])
    store.add_point(name, 2, 2, {"accuracy": 0.96, "train_time_s": 0.4})
    send(store, name, tracking)  # another connection knows from the tags what was written
    latest = runs(tracking, name, "tags.front = 'true'")["t0002"]
    assert (latest.data.tags["front_epochs"], latest.data.metrics["front.accuracy"]) == ("2", 0.96)
    store.add_trial(name, 3, {}, seed=3)
    store.add_point(name, 3, 1, {"accuracy": 0.99, "train_time_s": 0.1})
    send(store, name, tracking)
    assert list(runs(tracking, name, "tags.front = 'true'")) == ["t0003"]


def test_an_interrupted_search_leaves_no_run_running_and_a_resumed_one_does(
    store: Store, name: str, tracking: str
) -> None:
    store.update_study(name, state=StudyState.INTERRUPTED)
    send(store, name, tracking)
    killed = runs(tracking, name)
    assert {n: r.info.status for n, r in killed.items()} == {
        name: "KILLED",
        FIRST: "FINISHED",
        SECOND: "KILLED",
    }
    store.update_study(name, state=StudyState.RUNNING)
    store.resume_trial(name, 1)
    send(store, name, tracking)
    resumed = runs(tracking, name, view=ALL)
    assert {n: r.info.status for n, r in resumed.items()} == {
        name: "RUNNING",
        FIRST: "FINISHED",
        SECOND: "RUNNING",
    }
    assert resumed[SECOND].data.tags["tune_cnn.attempts"] == "2"


def test_the_reason_of_a_failure_is_a_tag_until_the_trial_is_resumed(store: Store, name: str, tracking: str) -> None:
    store.end_trial(name, 1, TrialState.FAILED, "val_loss is nan")
    send(store, name, tracking)
    failed = runs(tracking, name)[SECOND]
    assert (failed.info.status, failed.data.tags["tune_cnn.reason"]) == ("FAILED", "val_loss is nan")
    store.resume_trial(name, 1)
    send(store, name, tracking)
    assert "tune_cnn.reason" not in runs(tracking, name)[SECOND].data.tags


def test_system_metrics_are_there_for_the_shortest_trial(store: Store, name: str, tracking: str) -> None:
    """At each epoch, by node and GPU, where MLflow's own tab shows them; nowhere else."""
    store.add_trial(name, 2, {"batch_size": 32}, seed=2)
    measured = {"system/n1/cpu_utilization_percentage": 180.0, "system/n1/gpu_3_power_usage_watts": 150.0}
    store.add_point(name, 2, 1, {"accuracy": 0.5, "train_time_s": 2.0, **measured})
    send(store, name, tracking)
    found = runs(tracking, name)
    written = found["t0002 bs32"].data.metrics
    assert {k: v for k, v in written.items() if k.startswith("system/")} == measured
    assert not any(k.startswith("system/") for k in found[FIRST].data.metrics)
    point = store.points(name)[-1]
    assert point.system == measured and set(point.metrics) == {"accuracy", "train_time_s"}


ODD = ["a b/c.d", "🚀", "../up", "/root", "a//b", ".", "..", "a/", "x" * 300, "x" * 299 + "y", "-", " "]


def test_whatever_a_metric_or_parameter_is_called_it_is_sent(store: Store, name: str, tracking: str) -> None:
    """Slashes, dots, spaces, emoji, 300 characters: under a name that MLflow takes, each under one of its own."""
    values = {odd: float(number) for number, odd in enumerate(ODD)}
    store.add_trial(name, 2, {"batch_size": 32, **values}, seed=2)
    store.add_point(name, 2, 1, {"accuracy": 0.5, "train_time_s": 2.0, **values})
    store.end_trial(name, 2, TrialState.FAILED, "🚀 " + "r" * 9_000)
    send(store, name, tracking)
    run = runs(tracking, name)["t0002 bs32"]
    assert {run.data.metrics[odd_free(odd)] for odd in ODD} == set(values.values())
    assert {run.data.params[odd_free(odd)] for odd in ODD} == {str(value) for value in values.values()}
    assert run.data.tags["tune_cnn.reason"].startswith("🚀 rrr") and run.data.tags["tune_cnn.reason"].endswith("r…")


def test_the_objectives_are_what_mlflow_shows_first(store: Store, name: str, tracking: str) -> None:
    """Its pages choose the metric that was written first: an objective, rather than a parameter's number."""
    send(store, name, tracking)
    first = list(runs(tracking, name)[FIRST].data.metrics)
    assert first[:2] == ["accuracy", "train_time_s"] and "param.batch_size" in first


def test_a_trial_is_named_by_what_tells_it_from_others() -> None:
    """Number first, so that names sort; then what was searched, strategies by their names."""

    def named(**params: object) -> str:
        return trial_name(trial_record(params), list(params))

    assert named(learning_rate=0.13333, precision="bf16", batch_size=256) == "t0012 bs256 lr0.13 bf16"
    assert named(**{"model.width": 8, "compile": True, "channels_last": False}) == "t0012 width=8 compile"
    knobs = {"strategies.prunetrain": True, "strategies.prunetrain.lpr": 0.2, "strategies.s3pool": False}
    assert named(**knobs) == "t0012 prunetrain"
    assert len(named(**{f"model.argument_{k}": k for k in range(30)})) == 80


def trial_record(params: dict[str, object]) -> TrialRecord:
    return TrialRecord(
        number=12,
        params=params,
        seed=0,
        origin="sampler",
        state="running",
        reason=None,
        started=datetime.now(UTC),
        ended=None,
        attempts=1,
    )
