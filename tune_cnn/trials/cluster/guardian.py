"""A small process beside each search: when the driver is gone, it ends that search's processes and removes its folders.

`python -m tune_cnn.trials.cluster.guardian`: what to look after comes on stdin, whose end says that the driver has
died.
"""

import json
import logging
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from tune_cnn.owner import Owner, this_process
from tune_cnn.trials.cluster.leftovers import end_processes, remove_leftovers

log = logging.getLogger(__name__)

MODULE = "tune_cnn.trials.cluster.guardian"
LOOK_S = 1.0  # a child of the driver's may hold the pipe open beyond its end, so that one is looked at too
END_S = 15.0  # for what is killed and removed at an orderly end


@contextmanager
def guarded(folder: Path | None) -> Iterator[str]:
    """While this lasts, whatever ends this process also ends what it has started for a search.

    Gives the value of `leftovers.VARIABLE` by which processes are known as this search's. `folder`: of a Ray that is
    started here, removed at the end; None where a cluster is joined.
    """
    owner = this_process()
    value = f"{owner.mark} {folder or ''}"
    watching = {"value": value, "folder": None if folder is None else str(folder), "owner": asdict(owner)}
    process = _start(json.dumps(watching))
    try:
        yield value
    finally:
        if process is not None:
            _end(process)


def _start(watching: str) -> "subprocess.Popen[str] | None":
    """In a session of its own, which Ctrl-C doesn't reach, and with no folder or terminal of the user's held.

    None where it can't be started: the next start of a search then removes what is left.
    """
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            cwd="/",
        )
        assert process.stdin is not None
        process.stdin.write(watching + "\n")
        process.stdin.flush()
    except OSError as error:
        log.debug("no guardian can be started: %s", error)
        return None
    return process


def _end(process: "subprocess.Popen[str]") -> None:
    """Have it look once more, and wait for it."""
    assert process.stdin is not None
    with suppress(OSError):  # it was killed
        process.stdin.write("over")
        process.stdin.close()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> None:
    line = b""
    while not line.endswith(b"\n"):  # not by sys.stdin, which would take what follows too
        more = os.read(0, 1)
        if not more:
            return  # the driver died before it had started anything
        line += more
    watching = json.loads(line)
    owner = Owner(**watching["owner"])
    over = _wait_for_the_end(owner)
    folder = None if watching["folder"] is None else Path(watching["folder"])
    end_processes(watching["value"], folder)
    if folder is not None:
        _remove(folder)
    died_s = time.monotonic()
    while not over and not owner.is_dead and time.monotonic() - died_s < LOOK_S:
        time.sleep(0.05)  # its pipe closes a moment before it is gone
    remove_leftovers()


def _wait_for_the_end(owner: Owner) -> bool:
    """Until the driver says that it is over, or has died; whether it said so."""
    while not owner.is_dead:
        readable, _, _ = select.select([0], [], [], LOOK_S)
        if readable:
            return bool(os.read(0, 1))
    return False


def _remove(folder: Path) -> None:
    for _ in range(20):  # what was killed a moment ago may have written once more
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


if __name__ == "__main__":
    main()
