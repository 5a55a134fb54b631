"""The outbox as a process beside a search."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from records.outbox.delivered import SECOND, runs
from records.outbox.proxy import CUT, proxy_to
from records.outbox.served import Served

from tune_cnn.errors import InputError, TuneCnnError
from tune_cnn.records.mlflow.reader import read_study
from tune_cnn.records.outbox.handle import DELIVER_MIN, Outbox, OutboxStatus, delivery_of, start_outbox, sync
from tune_cnn.records.store import Store
from tune_cnn.states import StudyState, TrialState


def wait(until: Callable[[], bool], outbox: Outbox) -> None:
    """However long it takes, but not for ever."""
    for _ in range(1500):
        if until():
            return
        threading.Event().wait(0.2)
    raise AssertionError(f"{outbox.status()}\n{outbox.log.read_text()}")


def test_an_outbox_delivers_beside_the_search_and_ends_when_asked_to(
    store: Store, name: str, tracking: str, tmp_path: Path
) -> None:
    """What is committed while it runs arrives too; its settings are not in its command line; `sync` does the rest."""
    (tmp_path / "json.py").write_text("raise SystemExit('the working directory was imported from')")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)  # what lies where one stands shadows nothing
        outbox = start_outbox(store, name, tracking, folder=tmp_path / name)
    command = subprocess.run(["ps", "-o", "args=", "-p", str(outbox._process.pid)], capture_output=True, text=True)
    assert "records.outbox.process" in command.stdout and "sqlite" not in command.stdout
    wait(lambda: outbox.status().pending == 0, outbox)
    assert outbox.alive and outbox.status().error is None
    store.add_point(name, 1, 4, {"accuracy": 0.99, "train_time_s": 9.0})
    store.end_trial(name, 1, TrialState.COMPLETE)
    store.update_study(name, state=StudyState.FINISHED)
    assert outbox.finish(120.0) == 0 and not outbox.alive, outbox.log.read_text()
    archive = read_study(name, tracking)
    assert len(archive.points) == 7 and archive.study.state == "finished"
    assert runs(tracking, name)[name].info.status == "FINISHED"
    store.deliveries.add_artifact(name, outbox.log, "outbox.log")
    assert sync(store, name, tracking, folder=tmp_path / name) == 1
    run_id = runs(tracking, name)[name].info.run_id
    assert "outbox.log" in {f.path for f in MlflowClient(tracking).list_artifacts(run_id)}


def test_only_a_delivery_beside_a_search_steps_back(store: Store, name: str, tracking: str, tmp_path: Path) -> None:
    """Nobody trains beside `sync`: made as modest, it would end before MLflow is imported on a busy machine."""
    own = psutil.Process().nice()
    for alone, nice in ((True, own), (False, 19)):
        outbox = start_outbox(store, name, tracking, folder=tmp_path / name, alone=alone)
        try:
            assert psutil.Process(outbox._process.pid).nice() == nice
        finally:
            outbox.kill()


DRIVER = """
import sys, time
from pathlib import Path
from tune_cnn.records.outbox.handle import start_outbox
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
    for _ in range(1500):
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        threading.Event().wait(0.2)
    assert store.deliveries.count(name) == 0, (tmp_path / "outbox.log").read_text()
    found = runs(tracking, name)
    assert (found[name].info.status, found[SECOND].info.status) == ("KILLED", "KILLED")
    record = store.study(name)
    assert record is not None and record.state == "running"  # the tables are the search's alone


def test_an_absent_server_keeps_nobody_waiting_and_loses_nothing(store: Store, name: str, tmp_path: Path) -> None:
    """The status says so, everything is kept, `finish` returns what waits, and `sync` says why it failed."""
    closed = "http://user:geheim@127.0.0.1:9"
    outbox = start_outbox(store, name, closed, folder=tmp_path / name)
    waiting = store.deliveries.count(name)
    wait(lambda: outbox.status().error is not None, outbox)
    assert str(outbox.status()) == f"MLflow: {waiting} waiting (http://127.0.0.1:9: server unreachable)"
    assert outbox.finish(0.5) == waiting and not outbox.alive
    with pytest.raises(TuneCnnError, match=rf"{waiting} waiting.*nothing is lost"):
        sync(store, name, closed, folder=tmp_path / name, patience_s=1.0)
    assert "geheim" not in outbox.log.read_text()


def test_a_delivery_goes_on_after_its_search_and_ends_by_itself(
    store: Store, name: str, served: Served, tmp_path: Path
) -> None:
    """The server is away as the search ends, and back later; nobody asks for anything meanwhile."""
    with proxy_to(served.port) as proxy:
        proxy.fate = lambda request: CUT
        outbox = start_outbox(store, name, proxy.uri, folder=tmp_path / name)
        store.update_study(name, state=StudyState.FINISHED)
        wait(lambda: outbox.status().error is not None, outbox)
        waiting = outbox.finish(0.5, then_alone=True)
        assert waiting and outbox.alive
        wait(lambda: delivery_of(store, name).until is not None, outbox)
        said = str(delivery_of(store, name))
        assert said.startswith(f"MLflow: {waiting} waiting, being delivered in the background until ")
        proxy.fate = lambda request: "pass"
        wait(lambda: not outbox.alive, outbox)
    assert delivery_of(store, name) == OutboxStatus(pending=0), outbox.log.read_text()
    assert runs(served.uri, name)[name].info.status == "FINISHED"


def test_who_comes_next_takes_a_delivery_over_that_goes_on_alone(
    store: Store, name: str, tracking: str, tmp_path: Path
) -> None:
    """Though it is stopped: the next search, or `sync`, doesn't wait for its lease to run out."""
    left = start_outbox(store, name, "http://127.0.0.1:9", folder=tmp_path / name)
    left.leave()
    wait(lambda: delivery_of(store, name).until is not None, left)
    waiting = store.deliveries.count(name)
    assert sync(store, name, tracking, folder=tmp_path / name) == waiting
    wait(lambda: not left.alive, left)
    assert left._process.returncode == 0

    store.update_study(name, state=StudyState.FINISHED)
    stuck = start_outbox(store, name, "http://127.0.0.1:9", folder=tmp_path / name)
    stuck.leave()
    wait(lambda: delivery_of(store, name).until is not None, stuck)
    os.kill(stuck._process.pid, signal.SIGSTOP)
    assert sync(store, name, tracking, folder=tmp_path / name) == 1
    wait(lambda: not stuck.alive, stuck)
    assert stuck._process.returncode == 0  # woken up, to end


@pytest.mark.parametrize("minutes", ["0", "an hour"])
def test_a_user_may_want_no_delivery_after_the_end(
    store: Store, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: str
) -> None:
    """And what is no number is refused before anything is started."""
    monkeypatch.setenv(DELIVER_MIN, minutes)
    if minutes != "0":
        with pytest.raises(InputError, match=f"{DELIVER_MIN}: must be whole minutes, .* got 'an hour'"):
            start_outbox(store, name, "http://127.0.0.1:9", folder=tmp_path / name)
        return
    outbox = start_outbox(store, name, "http://127.0.0.1:9", folder=tmp_path / name)
    assert outbox.finish(0.0, then_alone=True) and not outbox.alive
