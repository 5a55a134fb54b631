"""What dead searches have left on this machine: processes, folders and semaphores, each provably theirs.

A folder of ours holds an owner's file. Processes of a Ray that a search has started carry the owner's mark in their
environment, as loader processes' semaphores do in their names. What carries no mark is nobody's to remove.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from tune_cnn.owner import Owner, marks_the_dead, owner_of, process
from tune_cnn.untyped import Untyped

PREFIX = "tune_cnn-"
_FOLDERS = (PREFIX, "pymp-")  # ours, and multiprocessing's own, in which loader processes' sockets lie
VARIABLE = "TUNE_CNN_RAY"  # in the environment of a search's processes: the driver's mark, and its Ray's folder
_SHARED_MEMORY = Path("/dev/shm")
_SEMAPHORE = f"sem.{PREFIX}"
ROUNDS = 200  # of 50 ms: a process ends within seconds of its kill, unless its device hangs
TRACKERS_S = 3.0  # for multiprocessing's resource trackers, which take semaphores away once their processes are gone


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """Something of a search whose driver, or whose process, is gone for certain."""

    kind: Literal["process", "folder", "semaphore"]
    what: str  # for the user
    owner: str  # host and PID of the process that it belonged to, as far as known
    since_s: float  # seconds since 1970: when it began or was last written
    pid: int | None = None  # of a process
    path: Path | None = None  # of a folder or semaphore
    mark: str | None = None  # of the process itself: its PID may be another's by now


def find_leftovers() -> list[Leftover]:
    """Processes first: what they write into goes after them. Only this user's, and nothing of other machines."""
    folders = {folder: owner for folder in _folders() if (owner := owner_of(folder)) is not None and owner.is_dead}
    processes = _marked(marks_the_dead) + _writing_into(list(folders))
    found = [left for one in processes if (left := _of_process(one)) is not None]
    for folder, owner in folders.items():
        what, whose = f"the folder {folder}", f"process {owner.pid} on {owner.host}"
        found.append(Leftover(kind="folder", what=what, owner=whose, since_s=_changed_s(folder), path=folder))
    return found + list(_semaphores())


def remove(leftover: Leftover) -> bool:
    """End it or take it away; False where it could not be. What is gone already is as good."""
    if leftover.kind == "process":
        assert leftover.pid is not None
        return _kill(leftover.pid, leftover.mark)
    assert leftover.path is not None
    if leftover.kind == "folder":
        shutil.rmtree(leftover.path, ignore_errors=True)
    else:
        with suppress(OSError):
            leftover.path.unlink(missing_ok=True)
    return not leftover.path.exists()


def remove_leftovers() -> str | None:
    """Remove all that there is; a line for the user, None where nothing was left."""
    left = find_leftovers()
    kinds: dict[str, int] = {}
    for one in sorted(left, key=lambda one: _is_tracker(one.what)):
        kinds[one.kind] = kinds.get(one.kind, 0) + remove(one)
    if not any(kinds.values()):
        return None
    names = {"process": "processes", "folder": "folders", "semaphore": "semaphores"}
    said = ", ".join(f"{n} {names[kind] if n > 1 else kind}" for kind, n in kinds.items() if n)
    return f"removed what dead searches had left: {said}"


def end_processes(value: str, folder: Path | None) -> None:
    """Kill all processes with this value of VARIABLE, and those that a Ray runs in `folder`, until there are none."""
    patient_until_s = time.monotonic() + TRACKERS_S
    killed: dict[int, Owner] = {}
    for _ in range(ROUNDS):  # a raylet that is still there may start another process meanwhile
        left = _marked(lambda mark: True, value=value) + ([] if folder is None else _writing_into([folder]))
        late = time.monotonic() > patient_until_s
        for one in left:
            with suppress(psutil.Error):
                if late or not _is_tracker(_command(one)):
                    killed[one.pid] = process(one.pid)
                    one.kill()
        if not left and all(owner.is_dead for owner in killed.values()):
            return  # one that is ending has no environment any more, and still lives
        time.sleep(0.05)


def _marked(wanted: Untyped, *, value: str | None = None) -> list[psutil.Process]:
    """This user's processes whose mark is wanted, or whose VARIABLE has just this value."""
    found = []
    for one in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            said = one.environ().get(VARIABLE) if one.pid != os.getpid() else None
            if said is None or one.uids().real != os.getuid() or one.status() == psutil.STATUS_ZOMBIE:
                continue
            if said == value if value is not None else wanted(said.partition(" ")[0]):
                found.append(one)
    return found


def _writing_into(folders: Sequence[Path]) -> list[psutil.Process]:
    """Ray's agents, whose title lies over their environment, by the logs that they hold open in a session's folder."""
    found = []
    for one in psutil.process_iter() if folders else []:
        with suppress(psutil.Error, OSError):
            if not _command(one).startswith("ray::") or one.uids().real != os.getuid() or VARIABLE in one.environ():
                continue
            opened = {Path(file.path) for file in one.open_files()}
            if any(path.is_relative_to(folder) for path in opened for folder in folders):
                found.append(one)
    return found


def _of_process(one: psutil.Process) -> Leftover | None:
    try:
        mark, command, said = process(one.pid).mark, _command(one), one.environ().get(VARIABLE, "")
        since_s = one.create_time()
    except (psutil.Error, OSError):  # it has ended meanwhile
        return None
    what = f"process {one.pid} ({command[:60].strip()})"
    whose = f"process {said.split('-')[1]}" if said else "a search's Ray"
    return Leftover(kind="process", what=what, owner=whose, since_s=since_s, pid=one.pid, mark=mark)


def _kill(pid: int, mark: str | None) -> bool:
    try:
        one = psutil.Process(pid)
        if mark is not None and process(pid).mark == mark:
            one.kill()  # a stopped one too
            one.wait(5.0)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return process(pid).is_dead
    except psutil.Error:
        return False
    return True


def _folders() -> Iterator[Path]:
    for place in {Path(tempfile.gettempdir()), Path("/tmp")}:
        with suppress(OSError):
            yield from (path for path in sorted(place.iterdir()) if path.name.startswith(_FOLDERS) and path.is_dir())


def _semaphores() -> Iterator[Leftover]:
    with suppress(OSError):
        for path in sorted(_SHARED_MEMORY.iterdir()):
            mark, _, _rest = path.name.removeprefix(_SEMAPHORE).rpartition("-")
            if not path.name.startswith(_SEMAPHORE) or path.stat().st_uid != os.getuid() or not marks_the_dead(mark):
                continue
            whose = f"process {mark.split('-')[1]}"
            what = f"the semaphore {path.name} in {path.parent}"
            yield Leftover(kind="semaphore", what=what, owner=whose, since_s=_changed_s(path), path=path)


def _changed_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()


def _command(one: psutil.Process) -> str:
    return " ".join(one.cmdline())


def _is_tracker(command: str) -> bool:
    return "multiprocessing.resource_tracker" in command
