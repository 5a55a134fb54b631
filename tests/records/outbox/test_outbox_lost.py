"""An outbox that delivers no more is replaced while its search trains, and makes way for `sync`."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from records.outbox.delivered import all_delivered, runs
from sqlalchemy import update

from tune_cnn.owner import Owner, process, this_process
from tune_cnn.records.outbox import handle, others, tending
from tune_cnn.records.outbox.delivery import MARKED_AFTER
from tune_cnn.records.outbox.handle import Outbox, start_outbox, sync
from tune_cnn.records.outbox.lost import FROZEN_S, GAP_S, STILL_S, Frozen, Still
from tune_cnn.records.outbox.others import Others
from tune_cnn.records.outbox.tending import TRIES, Looks, Tending
from tune_cnn.records.rows import to_json
from tune_cnn.records.store import Store
from tune_cnn.records.tables import leases
from tune_cnn.states import StudyState, TrialState


def wait(until: Callable[[], object], outbox: Outbox) -> None:
    """However long it takes, but not for ever."""
    for _ in range(9000):
        if until():
            return
        threading.Event().wait(0.1)
    raise AssertionError(f"{outbox.status()}\n{outbox.log.read_text()}")


def is_dead(owner: Owner) -> bool:
    return owner.is_dead


def go_on(store: Store, name: str) -> None:
    """What a search commits next."""
    store.add_point(name, 1, 4, {"accuracy": 0.6, "train_time_s": 4.0, "val_loss": 1.0, "odd:é!": 2.0})


@pytest.fixture(autouse=True)
def _not_modest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of them are started in each test, and on a full machine a modest one takes minutes to import MLflow."""
    monkeypatch.setattr(handle, "_make_modest", lambda pid: None)


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Owner]:
    child = subprocess.Popen(["sleep", "1000"])
    child.send_signal(signal.SIGSTOP)
    yield process(child.pid)
    child.kill()
    child.wait()


def test_a_process_is_frozen_once_it_has_been_seen_stopped_for_a_while(stopped: Owner) -> None:
    """In looks of one's own: who slept between two of them has seen nothing. One that goes on begins anew."""
    while not stopped.is_stopped:  # the kernel takes a moment
        threading.Event().wait(0.01)
    assert not this_process().is_stopped and not replace(stopped, born_s=0.0).is_stopped
    frozen = Frozen()
    assert not frozen.look(stopped, 0.0)
    assert not frozen.look(stopped, 1000.0)
    assert frozen.look(stopped, 1000.0 + FROZEN_S - GAP_S)
    assert not frozen.look(this_process(), 1000.0 + FROZEN_S)
    assert not frozen.look(stopped, 1000.0 + FROZEN_S + 1.0)


def test_changes_stand_still_where_none_of_them_is_taken() -> None:
    """More of them may come meanwhile."""
    still, now_s = Still(), 0.0
    for count in (3, 4, 5):
        assert not still.look({*range(count)}, now_s)
        now_s += GAP_S
    assert not still.look({1, 2, 3}, now_s)  # the first was taken
    for _ in range(round(STILL_S / GAP_S) - 1):
        now_s += GAP_S
        assert not still.look({1, 2, 3, 9}, now_s)
    assert still.look({1, 2, 3, 9}, now_s + GAP_S)
    assert not Still().look(set(), 0.0)


def test_what_ends_at_once_each_time_is_started_so_often_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tending, "LOOK_S", 0.001)
    monkeypatch.setattr(tending, "WAIT_S", 0.0)
    replaced, said = list[int](), list[str]()
    tended = Tending(lambda looks: "had ended with code 1", lambda: replaced.append(1), said.append)
    tended.start()
    while not tended.is_over:
        threading.Event().wait(0.01)
    tended.end(within_s=10.0)
    assert len(replaced) == len(said) == TRIES
    assert said[0] == "the process that delivers to MLflow had ended with code 1: another one has taken its place"


@pytest.mark.parametrize("fault", [signal.SIGSTOP, signal.SIGKILL, signal.SIGTERM], ids=lambda fault: fault.name)
def test_a_search_replaces_a_lost_outbox_and_everything_arrives_once(
    store: Store, name: str, tracking: str, tmp_path: Path, fault: signal.Signals
) -> None:
    """In the middle of a delivery; the lost one is gone, the user is told once, and what comes next is delivered."""
    for trial in range(2, 2 + MARKED_AFTER):
        store.add_trial(name, trial, {"batch_size": 32, "model.note": str(trial)}, seed=trial)
        store.end_trial(name, trial, TrialState.FAILED, reason="made up")
    waiting, said = store.deliveries.count(name), list[str]()
    outbox = start_outbox(store, name, tracking, folder=tmp_path / name)
    outbox.tend(said.append)
    lost = process(outbox._process.pid)
    wait(lambda: store.deliveries.count(name) < waiting, outbox)
    os.kill(lost.pid, fault)
    wait(lambda: is_dead(lost), outbox)
    go_on(store, name)
    wait(lambda: store.deliveries.count(name) == 0, outbox)
    assert outbox.alive and outbox._process.pid != lost.pid and len(said) == 1
    store.end_trial(name, 1, TrialState.COMPLETE)
    store.update_study(name, state=StudyState.FINISHED)
    assert outbox.finish(900.0) == 0 and not outbox.alive, outbox.log.read_text()
    all_delivered(store, name, tracking)
    assert {run.info.status for run in runs(tracking, name).values()} == {"FINISHED", "FAILED"}


def test_an_outbox_that_is_lost_at_the_end_of_its_search_is_replaced_too(
    store: Store, name: str, tracking: str, tmp_path: Path
) -> None:
    store.update_study(name, state=StudyState.FINISHED)
    outbox = start_outbox(store, name, tracking, folder=tmp_path / name)
    outbox.tend(lambda line: None)
    os.kill(outbox._process.pid, signal.SIGSTOP)
    assert outbox.finish(900.0) == 0 and not outbox.alive, outbox.log.read_text()
    all_delivered(store, name, tracking)


def test_a_frozen_outbox_is_not_left_to_go_on_alone(store: Store, name: str, tracking: str, tmp_path: Path) -> None:
    store.update_study(name, state=StudyState.FINISHED)
    outbox = start_outbox(store, name, tracking, folder=tmp_path / name)
    frozen = process(outbox._process.pid)
    os.kill(frozen.pid, signal.SIGSTOP)
    wait(lambda: frozen.is_stopped, outbox)
    outbox.leave()
    assert frozen.is_dead
    wait(lambda: not outbox.alive, outbox)
    all_delivered(store, name, tracking)


def _run_out(store: Store, name: str) -> None:
    with store._database.write() as connection:
        connection.execute(update(leases).values(expires_ms=1))


@pytest.mark.parametrize("when", ["at once", "when its hold has run out"])
def test_sync_takes_over_from_a_frozen_outbox(
    store: Store, name: str, tracking: str, tmp_path: Path, when: str
) -> None:
    """Whose search may go on, and does not see it: the frozen one is gone, and everything arrives once."""
    outbox = start_outbox(store, name, tracking, folder=tmp_path / name)
    wait(lambda: store.deliveries.count(name) == 0, outbox)
    frozen = process(outbox._process.pid)
    os.kill(frozen.pid, signal.SIGSTOP)
    if when != "at once":
        _run_out(store, name)
    go_on(store, name)
    assert sync(store, name, tracking, folder=tmp_path / name, patience_s=900.0) == 1
    wait(lambda: is_dead(frozen), outbox)
    all_delivered(store, name, tracking)


def test_one_that_does_not_end_when_it_is_asked_to_is_killed(
    store: Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose hold has run out; of one whose hold lives, and that is neither frozen nor alone, nothing is asked."""
    monkeypatch.setattr(others, "ENDED_WITHIN_S", -1.0)
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(999)"
    )
    child = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "up\n"
    with store.lease(name, role="outbox"):
        with store._database.write() as connection:
            connection.execute(update(leases).values(owner=to_json(asdict(process(child.pid)))))
        assert not Others(store, name).end()
        _run_out(store, name)
        there = Others(store, name)
        assert there.end() and child.poll() is None and there.end()
        assert child.wait(60) == -signal.SIGKILL and not there.end()
    child.stdout.close()


def test_a_sync_leaves_an_outbox_that_delivers_alone(store: Store, name: str, tracking: str, tmp_path: Path) -> None:
    """Even where the hold of an earlier one has run out."""
    outbox = start_outbox(store, name, tracking, folder=tmp_path / name)
    try:
        wait(lambda: store.deliveries.count(name) == 0, outbox)
        go_on(store, name)
        wait(lambda: store.deliveries.count(name) == 0, outbox)
        other = start_outbox(store, name, tracking, folder=tmp_path / name, alone=True)
        wait(lambda: "is being delivered to MLflow already" in outbox.log.read_text(), outbox)
        assert outbox.alive
        other.kill()
    finally:
        outbox.kill()


def test_who_wakes_up_after_another_one_took_over_delivers_nothing(
    store: Store, name: str, tracking: str, tmp_path: Path
) -> None:
    """On another machine it can't be ended: it finds its hold gone, and waits."""
    outbox = start_outbox(store, name, tracking, folder=tmp_path / name)
    try:
        wait(lambda: store.deliveries.count(name) == 0, outbox)
        os.kill(outbox._process.pid, signal.SIGSTOP)
        with store._database.write() as connection:
            connection.execute(update(leases).values(token="another", expires_ms=leases.c.expires_ms + 600_000))
        go_on(store, name)
        os.kill(outbox._process.pid, signal.SIGCONT)
        wait(lambda: "is being delivered to MLflow already" in outbox.log.read_text(), outbox)
        assert store.deliveries.count(name) == 1
    finally:
        outbox.kill()


def test_looks_say_what_is_wrong(stopped: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tune_cnn.records.outbox.lost.FROZEN_S", 0.0)
    monkeypatch.setattr("tune_cnn.records.outbox.lost.STILL_S", 0.0)
    monkeypatch.setattr(tending, "GAP_S", 0.0)
    looks = Looks()
    assert looks.at(this_process(), lambda: {1}) is None
    assert looks.at(this_process(), lambda: {1, 2}) == "had taken no change for 10 min"
    while looks.at(stopped, set) is None:
        threading.Event().wait(0.01)
    assert looks.at(stopped, set) == "was frozen for 10 s"
