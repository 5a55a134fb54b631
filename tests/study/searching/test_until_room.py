"""A full disk pauses a search: what could not be written is written once there is room, and nothing is torn."""

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from missing import missing

from study.made_up import session_of, spec_with
from tune_cnn.errors import StoreError, StoreFull
from tune_cnn.records.store import Store
from tune_cnn.study.searching.until_room import LEAST_MIB, LOOK_S, PATIENCE_S, StudyWriter, UntilRoom
from tune_cnn.study.session.session import Session


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB: more than the journal of a store takes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], capture_output=True)
    except FileNotFoundError:
        missing("mount is not installed")
    if mounted.returncode:
        missing(f"no file system may be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all the room there is."""
    path = folder / "filler"
    with pytest.raises(OSError, match="No space"), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    return path


def session_in(home: Path, said: list[str]) -> Session:
    spec = spec_with()
    store = Store(home)
    store.create_study(spec.study, spec.model_dump(), info={})
    store.add_trial(spec.study, 0, {}, seed=0)
    return session_of(store, spec, home, said.append)


def test_points_wait_for_room_and_come_once(small_disk: Path) -> None:
    """The store's disk fills up while points are committed; each is there once when there is room again."""
    said: list[str] = []
    session = session_in(small_disk, said)
    write = StudyWriter(session, ending=lambda: False)
    filler = fill(small_disk)
    committed = threading.Event()

    def commit() -> None:
        for epoch in range(1, 101):
            assert write.add_point(0, epoch, {"accuracy": 0.5}, checkpoint=None)
        committed.set()

    thread = threading.Thread(target=commit, daemon=True)
    thread.start()
    for _ in range(600):
        if said or committed.wait(0.1):
            break
    assert said and not committed.is_set()
    assert said[0].startswith("paused, until there is room: ") and "disk is full" in said[0]
    assert str(small_disk) in said[0]
    filler.unlink()
    thread.join(60)
    assert committed.is_set()
    assert "there is room again" in said[1] and len(said) == 2
    assert [point.epoch for point in session.store.points("made-up")] == list(range(1, 101))
    session.store.close()


def test_a_search_that_ends_waits_no_longer(small_disk: Path) -> None:
    """After Ctrl-C a full disk is an error, which says so; what was committed is there."""
    said: list[str] = []
    session = session_in(small_disk, said)
    filler = fill(small_disk)
    write = StudyWriter(session, ending=lambda: True)
    done = 0
    with pytest.raises(StoreFull, match="disk"):
        for epoch in range(1, 10_000):
            write.add_point(0, epoch, {"accuracy": 0.5}, checkpoint=None)
            done = epoch
    assert not said
    filler.unlink()
    assert [point.epoch for point in session.store.points("made-up")] == list(range(1, done + 1))
    session.store.close()


def test_a_new_trial_waits_until_its_home_has_room(tmp_path: Path) -> None:
    said: list[str] = []
    free_mib = iter([LEAST_MIB - 1.0, LEAST_MIB - 1.0, LEAST_MIB + 0.0])
    slept: list[float] = []
    room = UntilRoom(
        tmp_path, said.append, ending=lambda: False, sleep=slept.append, free_mib=lambda folder: next(free_mib)
    )
    room.wait()
    assert slept == [LOOK_S, LOOK_S]
    assert f"needs {LEAST_MIB} MiB there, {LEAST_MIB - 1} MiB are free" in said[0]
    assert said[1] == "there is room again after 2 s; the search goes on"


def test_it_does_not_wait_for_ever(tmp_path: Path) -> None:
    slept: list[float] = []
    room = UntilRoom(tmp_path, lambda line: None, ending=lambda: False, sleep=slept.append, free_mib=lambda folder: 0.0)
    with pytest.raises(StoreFull):
        room.wait()
    assert sum(slept) == pytest.approx(PATIENCE_S)


def test_what_is_no_full_disk_is_raised_at_once(tmp_path: Path) -> None:
    def broken() -> None:
        raise StoreError("is corrupt")

    room = UntilRoom(tmp_path, lambda line: None, ending=lambda: False)
    with pytest.raises(StoreError, match="is corrupt"):
        room.write(broken)


def test_a_home_that_can_not_be_asked_is_no_reason_to_wait(tmp_path: Path) -> None:
    UntilRoom(tmp_path / "not there", lambda line: None, ending=lambda: False).wait()
