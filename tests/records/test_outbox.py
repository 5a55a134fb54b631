"""What MLflow is told of a study, and that it is told once: a real MLflow on SQLite, a real outbox process."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tune_cnn.errors import StudyError, TuneCnnError
from tune_cnn.records.mlflow_environment import make_quiet, shown_uri
from tune_cnn.records.outbox_process import Outbox, start_outbox, sync
from tune_cnn.records.store import Store

make_quiet("")  # before mlflow is imported, which would phone home
from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Run, ViewType  # noqa: E402

from tune_cnn.records.mlflow_delivery import Delivery  # noqa: E402
from tune_cnn.records.mlflow_reader import list_studies, read_study  # noqa: E402
from tune_cnn.records.mlflow_server import Refused, Server, Unreachable  # noqa: E402

ALL = ViewType.ALL
SPEC: dict[str, Any] = {
    "study": "s",
    "data": {"name": "digits", "root": "/images"},
    "model": {"name": "lenet5"},
    "space": {"batch_size": [32, 64], "epochs": 3},
    "budget": {"trials": 9},
}


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('tracking')}/mlflow.db"


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return str(request.node.name).replace("[", "-").rstrip("]")[:100]  # an experiment of each test's own


@pytest.fixture
def store(tmp_path: Path, name: str) -> Iterator[Store]:
    """Two trials of three epochs; trial 0 is slower and better, so both are on the front."""
    store = Store(tmp_path)
    store.create_study(name, {**SPEC, "study": name}, info={"data": {"key": "0123abc", "classes": 10}})
    for trial in (0, 1):
        store.add_trial(name, trial, {"batch_size": 32, "model.note": "x" * (7_000 * trial)}, seed=trial)
        for epoch in (1, 2, 3):
            metrics = {
                "accuracy": 0.3 * epoch - 0.05 * trial,
                "train_time_s": epoch * (2.0 - trial),
                "odd:é!": math.nan,
            }
            store.add_point(name, trial, epoch, metrics)
    store.end_trial(name, 0, "complete")
    store.update_study(name, reference={"accuracy": 0.0, "train_time_s": 100.0})
    yield store
    store.close()


def tell(store: Store, name: str, tracking: str, **how: Any) -> Delivery:
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


def test_a_study_is_told_as_the_contract_says(store: Store, name: str, tracking: str) -> None:
    """A parent, a child per trial, params, metrics by epoch with the stored times, tags, status, artifacts, dataset."""
    (store_file := Path(store.shown).with_name("r.html")).write_text("<p>")
    store.add_artifact(name, store_file, "report/report.html")
    tell(store, name, tracking)
    found, client = runs(tracking, name), MlflowClient(tracking)
    parent, child = found[name], found["trial-0000"]
    record = store.study(name)
    assert record is not None and record.run_id == parent.info.run_id and store.pending(name) == 0
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    wanted = {"tune_cnn.study": name, "tune_cnn.trial": "0", "tune_cnn.state": "complete"}
    assert wanted.items() <= child.data.tags.items() and "tune_cnn.reason" not in child.data.tags
    assert (child.info.status, found["trial-0001"].info.status, parent.info.status) == (
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
    tell(store, name, tracking)
    run, server = runs(tracking, name)["trial-0001"], Server(tracking)
    assert len(run.data.params["model.note"]) == 6_000
    assert json.loads(server.download_text(run.info.run_id, "params.json"))["model.note"] == "x" * 7_000


def test_the_front_is_found_by_its_tag(store: Store, name: str, tracking: str) -> None:
    """`front` while a trial is on it, with its epochs and what the offered one reached; gone when it is beaten."""
    delivery = tell(store, name, tracking)
    found = runs(tracking, name, "tags.front = 'true'")
    assert {n: r.data.tags["front_epochs"] for n, r in found.items()} == {"trial-0000": "3", "trial-0001": "1,2,3"}
    assert found["trial-0000"].data.metrics["front.accuracy"] == pytest.approx(0.9)
    store.add_trial(name, 2, {}, seed=2)
    store.add_point(name, 2, 1, {"accuracy": 0.95, "train_time_s": 0.5})
    delivery.deliver()
    assert list(runs(tracking, name, "tags.front = 'true'")) == ["trial-0002"]
    beaten = runs(tracking, name)["trial-0000"]
    assert not {"front", "front_epochs"} & beaten.data.tags.keys()
    assert math.isnan(beaten.data.metrics["front.accuracy"])
    store.add_point(name, 2, 2, {"accuracy": 0.96, "train_time_s": 0.4})
    tell(store, name, tracking)  # another connection knows from the tags what was told
    latest = runs(tracking, name, "tags.front = 'true'")["trial-0002"]
    assert (latest.data.tags["front_epochs"], latest.data.metrics["front.accuracy"]) == ("2", 0.96)
    store.add_trial(name, 3, {}, seed=3)
    store.add_point(name, 3, 1, {"accuracy": 0.99, "train_time_s": 0.1})
    tell(store, name, tracking)
    assert list(runs(tracking, name, "tags.front = 'true'")) == ["trial-0003"]


def test_telling_everything_again_doubles_nothing(store: Store, name: str, tracking: str) -> None:
    """Runs are found by their tags, metrics are the same rows, whatever batches they come in."""
    tell(store, name, tracking)
    first = runs(tracking, name, view=ALL)
    store.redeliver(name)
    tell(store, name, tracking)
    second = runs(tracking, name, view=ALL)
    assert {n: r.info.run_id for n, r in first.items()} == {n: r.info.run_id for n, r in second.items()}
    client = MlflowClient(tracking)
    for key in ("accuracy", "odd_é_"):
        assert len(client.get_metric_history(first["trial-0000"].info.run_id, key)) == 3
    growth = client.get_metric_history(first[name].info.run_id, "hypervolume")
    assert len(growth) == len({m.step for m in growth})


def test_a_lost_reply_doubles_no_run(store: Store, name: str, tracking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server made the run, we never heard: the next connection finds it."""
    create: Callable[..., Any] = MlflowClient.create_run

    def create_and_lose_the_reply(*args: Any, **kwargs: Any) -> None:
        create(*args, **kwargs)
        raise ConnectionError("reply lost")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", create_and_lose_the_reply)
        for _ in range(2):  # the parent's, then the first trial's
            with pytest.raises(Unreachable, match="reply lost"):
                tell(store, name, tracking)
    tell(store, name, tracking, retried=True)
    assert set(runs(tracking, name, view=ALL)) == {name, "trial-0000", "trial-0001"}


def test_a_run_that_came_late_after_all_is_removed(store: Store, name: str, tracking: str) -> None:
    """A server that commits a request after we had given it up: one run stays, the one with the data."""
    delivery = tell(store, name, tracking, retried=True)
    run = runs(tracking, name)["trial-0000"]
    client = MlflowClient(tracking)
    client.create_run(run.info.experiment_id, tags=run.data.tags, run_name="trial-0000")
    store.update_study(name, state="finished")
    delivery.deliver()
    delivery.settle(ended=True)
    assert runs(tracking, name)["trial-0000"].info.run_id == run.info.run_id


def test_an_interrupted_search_leaves_no_run_running_and_a_resumed_one_does(
    store: Store, name: str, tracking: str
) -> None:
    store.update_study(name, state="interrupted")
    tell(store, name, tracking)
    killed = runs(tracking, name)
    assert {n: r.info.status for n, r in killed.items()} == {
        name: "KILLED",
        "trial-0000": "FINISHED",
        "trial-0001": "KILLED",
    }
    store.update_study(name, state="running")
    store.resume_trial(name, 1)
    tell(store, name, tracking)
    resumed = runs(tracking, name, view=ALL)
    assert {n: r.info.status for n, r in resumed.items()} == {
        name: "RUNNING",
        "trial-0000": "FINISHED",
        "trial-0001": "RUNNING",
    }
    assert resumed["trial-0001"].data.tags["tune_cnn.attempts"] == "2"


def test_the_reason_of_a_failure_is_a_tag_until_the_trial_is_resumed(store: Store, name: str, tracking: str) -> None:
    store.end_trial(name, 1, "failed", "val_loss is nan")
    tell(store, name, tracking)
    failed = runs(tracking, name)["trial-0001"]
    assert (failed.info.status, failed.data.tags["tune_cnn.reason"]) == ("FAILED", "val_loss is nan")
    store.resume_trial(name, 1)
    tell(store, name, tracking)
    assert "tune_cnn.reason" not in runs(tracking, name)["trial-0001"].data.tags


def test_deleted_runs_and_experiments_come_back(store: Store, name: str, tracking: str) -> None:
    """What was deleted on the server by mistake is restored, not made a second time."""
    tell(store, name, tracking)
    run, client = runs(tracking, name)["trial-0001"], MlflowClient(tracking)
    client.delete_run(run.info.run_id)
    store.end_trial(name, 1, "stopped")
    tell(store, name, tracking)
    assert runs(tracking, name)["trial-0001"].info.run_id == run.info.run_id
    client.delete_experiment(run.info.experiment_id)
    store.update_study(name, state="finished")
    tell(store, name, tracking)
    assert runs(tracking, name, view=ALL)["trial-0001"].info.run_id == run.info.run_id
    assert runs(tracking, name)["trial-0001"].info.status == "FINISHED"


def test_another_server_is_told_everything(store: Store, name: str, tracking: str, tmp_path: Path) -> None:
    """Runs that the first one had are unknown to the second: the whole study is delivered there."""
    tell(store, name, tracking)
    second = f"sqlite:///{tmp_path}/second.db"
    tell(store, name, second)
    found = runs(second, name)
    assert set(found) == {name, "trial-0000", "trial-0001"} and "accuracy" in found["trial-0001"].data.metrics
    assert len(read_study(name, second).points) == 6


def test_what_is_not_ours_is_refused_untouched(store: Store, name: str, tracking: str, tmp_path: Path) -> None:
    """An experiment of this name that is no study, or another study's."""
    client = MlflowClient(tracking)
    client.create_experiment(name)
    with pytest.raises(Refused, match=f"the experiment '{name}' .* holds something else than a study of ours"):
        tell(store, name, tracking)
    second = f"sqlite:///{tmp_path}/second.db"
    tell(store, name, second)
    other = Store(tmp_path / "other")
    other.create_study(name, {**SPEC, "study": name}, info={})
    with pytest.raises(Refused, match="holds another study of this name"):
        tell(other, name, second)
    assert runs(tracking, name) == {} and len(runs(second, name)) == 3 and store.pending(name) == 0


def test_a_study_reads_back_from_its_server_alone(store: Store, name: str, tracking: str) -> None:
    """Spec, state, trials with their run ids, and every point."""
    store.update_study(name, state="finished")
    tell(store, name, tracking)
    archive = read_study(name, tracking)
    record = store.study(name)
    assert record is not None and name in list_studies(tracking)
    assert (archive.study.uid, archive.study.spec, archive.study.state) == (record.uid, record.spec, "finished")
    assert [t.run_id for t in archive.trials] == [t.run_id for t in store.trials(name)] != [None, None]
    assert [p.metrics["accuracy"] for p in archive.points] == [p.metrics["accuracy"] for p in store.points(name)]
    with pytest.raises(StudyError, match=r"'nowhere': .* holds no study of this name"):
        read_study("nowhere", tracking)


def test_reading_makes_no_database(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no such database"):
        read_study("s", f"sqlite:///{tmp_path}/m.db")
    assert not (tmp_path / "m.db").exists()


class _Answers(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        body = b"<html>hello</html>"
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name is http.server's

    def log_message(self, *args: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [(200, Refused, "not an MLflow server"), (401, Refused, "doesn't let us in"), (503, Unreachable, "127.0.0.1")],
)
def test_servers_that_are_none_or_refuse_are_told_apart(status: int, error: type[Exception], says: str) -> None:
    """Only what may pass by itself is tried again; no message holds the password."""
    http = HTTPServer(("127.0.0.1", 0), type("Handler", (_Answers,), {"status": status}))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        with pytest.raises(error, match=says) as caught:
            Server(f"http://user:geheim@127.0.0.1:{http.server_port}").experiment("s", "u")
    finally:
        http.shutdown()
        http.server_close()
    assert "geheim" not in str(caught.value)
    assert shown_uri("http://user:geheim@host:5/x") == "http://host:5/x"


# The process


def wait(until: Callable[[], bool], outbox: Outbox) -> None:
    """However long it takes, but not for ever."""
    for _ in range(600):
        if until():
            return
        threading.Event().wait(0.2)
    raise AssertionError(f"{outbox.status()}\n{outbox.log.read_text()}")


def test_an_outbox_delivers_beside_the_search_and_ends_when_told(
    store: Store, name: str, tracking: str, tmp_path: Path
) -> None:
    """What is committed while it runs arrives too; its settings are not in its command line; `sync` does the rest."""
    outbox = start_outbox(store, name, tracking, folder=tmp_path / name)
    command = subprocess.run(["ps", "-o", "args=", "-p", str(outbox._process.pid)], capture_output=True, text=True)
    assert "mlflow_outbox" in command.stdout and "sqlite" not in command.stdout
    wait(lambda: outbox.status().pending == 0, outbox)
    assert outbox.alive and outbox.status().error is None
    store.add_point(name, 1, 4, {"accuracy": 0.99, "train_time_s": 9.0})
    store.end_trial(name, 1, "complete")
    store.update_study(name, state="finished")
    assert outbox.finish(120.0) == 0 and not outbox.alive, outbox.log.read_text()
    archive = read_study(name, tracking)
    assert len(archive.points) == 7 and archive.study.state == "finished"
    assert runs(tracking, name)[name].info.status == "FINISHED"
    store.add_artifact(name, outbox.log, "outbox.log")
    assert sync(store, name, tracking, folder=tmp_path / name) == 1
    run_id = runs(tracking, name)[name].info.run_id
    assert "outbox.log" in {f.path for f in MlflowClient(tracking).list_artifacts(run_id)}


DRIVER = """
import sys, time
from pathlib import Path
from tune_cnn.records.outbox_process import start_outbox
from tune_cnn.records.store import Store
store = Store(sys.argv[1])
outbox = start_outbox(store, sys.argv[2], sys.argv[3], folder=Path(sys.argv[1]))
print(outbox._process.pid, flush=True)
time.sleep(1000)
"""


def test_an_outbox_outlives_a_killed_search_just_long_enough(
    store: Store, name: str, tracking: str, tmp_path: Path
) -> None:
    """What was committed is delivered, nothing stays RUNNING, and the process ends by itself."""
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path), name, tracking], stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    pid = int(driver.stdout.readline())
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    status = Path(f"/proc/{pid}/stat")
    for _ in range(600):
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        threading.Event().wait(0.2)
    assert store.pending(name) == 0, (tmp_path / "outbox.log").read_text()
    found = runs(tracking, name)
    assert (found[name].info.status, found["trial-0001"].info.status) == ("KILLED", "KILLED")
    record = store.study(name)
    assert record is not None and record.state == "running"  # the tables are the search's alone


def test_an_absent_server_keeps_nobody_waiting_and_loses_nothing(store: Store, name: str, tmp_path: Path) -> None:
    """The status says so, everything is kept, `finish` returns what waits, and `sync` says why it failed."""
    closed = "http://user:geheim@127.0.0.1:9"
    outbox = start_outbox(store, name, closed, folder=tmp_path / name)
    waiting = store.pending(name)
    wait(lambda: outbox.status().error is not None, outbox)
    assert str(outbox.status()) == f"MLflow: {waiting} waiting (http://127.0.0.1:9: server unreachable)"
    assert outbox.finish(0.5) == waiting and not outbox.alive
    with pytest.raises(TuneCnnError, match=rf"{waiting} waiting.*nothing is lost"):
        sync(store, name, closed, folder=tmp_path / name, patience_s=1.0)
    assert "geheim" not in outbox.log.read_text()
