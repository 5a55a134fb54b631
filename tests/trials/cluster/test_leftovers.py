"""A driver that is killed leaves nothing, and what dead searches have left all the same is found and removed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from tune_cnn.owner import FILE, Owner, marks_the_dead, owner_of, process, this_process, write_owner
from tune_cnn.trials.cluster.leftovers import VARIABLE, find_leftovers, remove, remove_leftovers

SHARED_MEMORY = Path("/dev/shm")


def within_a_minute(holds: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + 60
    while not (held := holds()) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return held


@pytest.fixture
def dead() -> Owner:
    """A process that was."""
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    owner = process(child.pid)
    child.communicate()
    return owner


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def folder_of(owner: Owner, place: Path, name: str) -> Path:
    folder = place / name
    folder.mkdir()
    (folder / FILE).write_text(json.dumps(asdict(owner)))
    return folder


def test_an_owner_is_known_by_its_mark_and_by_its_folder(tmp_path: Path, dead: Owner) -> None:
    """Dead is what is gone for certain: no other machine's, and no PID that has come back."""
    here = this_process()
    write_owner(tmp_path)
    assert owner_of(tmp_path) == here and not here.is_dead and not marks_the_dead(here.mark)
    assert dead.is_dead and marks_the_dead(dead.mark)
    again = replace(dead, pid=os.getpid())
    assert again.is_dead and marks_the_dead(again.mark)
    elsewhere = replace(dead, machine="another")
    assert not elsewhere.is_dead and not marks_the_dead(elsewhere.mark)
    assert not any(map(marks_the_dead, ("", "a-b-c", dead.mark.rpartition("-")[0])))


def test_only_what_is_provably_a_dead_searchs_is_found(temporary: Path, dead: Owner) -> None:
    """Not what lives, says nothing of its owner, says nonsense, is a link, or belongs to another machine."""
    left = folder_of(dead, temporary, "tune_cnn-left")
    folder_of(this_process(), temporary, "tune_cnn-lives")
    folder_of(replace(dead, machine="another"), temporary, "tune_cnn-elsewhere")
    folder_of(dead, temporary, "of-somebody-else")
    (temporary / "tune_cnn-silent").mkdir()
    (temporary / "tune_cnn-nonsense").mkdir()
    (temporary / "tune_cnn-nonsense" / FILE).write_text('{"pid": 1}')
    (temporary / "tune_cnn-link").symlink_to(left)
    found = [one for one in find_leftovers() if one.path is not None and one.path.is_relative_to(temporary)]
    assert [(one.kind, one.path, one.owner) for one in found] == [
        ("folder", left, f"process {dead.pid} on {dead.host}")
    ]
    assert remove(found[0]) and not left.exists()
    assert len(list(temporary.iterdir())) == 6


def test_semaphores_of_the_dead_are_removed_and_said(temporary: Path, dead: Owner) -> None:
    """In a line, with the folders."""
    theirs, mine = (SHARED_MEMORY / f"sem.tune_cnn-{owner.mark}-abc_1" for owner in (dead, this_process()))
    folder_of(dead, temporary, "pymp-left")
    try:
        theirs.touch()
        mine.touch()
        said = remove_leftovers() or ""
        assert said.startswith("removed what dead searches had left: ") and "folder" in said and "semaphore" in said
        assert mine.exists() and not theirs.exists()
    finally:
        mine.unlink(missing_ok=True)
        theirs.unlink(missing_ok=True)


def test_a_process_of_a_dead_search_is_ended_though_it_is_stopped(dead: Owner) -> None:
    """By its environment alone; one of a living search, and one that only names it, stay."""
    asleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    marks = [f"{dead.mark} /tmp/x", f"{this_process().mark} /tmp/x"]
    started = [subprocess.Popen(asleep, env={**os.environ, VARIABLE: mark}) for mark in marks]
    started.append(subprocess.Popen([*asleep, f"{VARIABLE}={marks[0]}"]))
    try:
        assert within_a_minute(lambda: VARIABLE in psutil.Process(started[0].pid).environ())
        started[0].send_signal(signal.SIGSTOP)
        found = [one for one in find_leftovers() if one.pid in {one.pid for one in started}]
        assert [one.pid for one in found] == [started[0].pid]
        assert remove(replace(found[0], mark="of-an-earlier-process")) and psutil.pid_exists(started[0].pid)
        assert remove(found[0]) and not psutil.pid_exists(started[0].pid)
        assert [one.poll() for one in started[1:]] == [None, None]
    finally:
        for one in started:
            one.kill()
            one.wait()


@pytest.fixture
def driver() -> Iterator["subprocess.Popen[str]"]:
    script = Path(__file__).with_name("killed_drivers.py")
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_a_killed_driver_leaves_nothing_though_all_of_its_ray_is_stopped(driver: "subprocess.Popen[str]") -> None:
    """Ray's own processes, a trial's, its loader processes; their folders and semaphores."""
    assert driver.stdout is not None
    rank, loader = json.loads(driver.stdout.readline())
    mark, folders = process(rank).mark, {Path(psutil.Process(rank).environ()[VARIABLE].partition(" ")[2])}
    sockets = [path for path in Path("/tmp").glob("pymp-*") if (one := owner_of(path)) and one.pid == rank]
    assert sockets and list(SHARED_MEMORY.glob(f"sem.tune_cnn-{mark}-*")) and all(map(Path.is_dir, folders))
    started = psutil.Process(driver.pid).children(recursive=True)
    assert {rank, loader} < {one.pid for one in started}
    for one in started:
        if "guardian" not in " ".join(one.cmdline()):
            one.suspend()
    driver.kill()
    _, alive = psutil.wait_procs(started, timeout=60)
    assert not alive
    assert not list(SHARED_MEMORY.glob(f"sem.tune_cnn-{mark}-*"))
    assert not [path for path in (*folders, *sockets) if path.exists()]
