"""Faults within a training: no number, no memory, a collective that hangs; and the clock beside it."""

import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from faults.rows import Case, Row

MEMORY_MIB = 200  # beyond what the worker holds already: less than `eat` takes at once


def ask(what: str) -> Callable[[Case], None]:
    """The net breaks in that way at its next step (fault_net.py)."""

    def strike(case: Case) -> None:
        case.now()
        (case.search.folder / what).touch()

    return strike


def no_memory(case: Case) -> None:
    """The worker in a group of little memory, and then it asks for much: the kernel ends it."""
    root = Path("/sys/fs/cgroup/memory")
    name, limit = ("memory.limit_in_bytes", root) if root.exists() else ("memory.max", Path("/sys/fs/cgroup"))
    group = limit / case.search.folder.name
    group.mkdir()
    case.at_close.append(lambda: _remove(group))
    worker = case.search.one("worker")
    (group / name).write_text(str(MEMORY_MIB * 2**20))
    (group / "cgroup.procs").write_text(str(worker.pid))
    assert str(worker.pid) in (group / "cgroup.procs").read_text().split()
    ask("eat")(case)


def _remove(group: Path) -> None:
    for _ in range(50):  # its processes have just been ended
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.1)
        else:
            return


def own_clock(case: Case) -> None:
    """All that the command starts has a clock that the row sets (clock.c)."""
    library, seconds = case.search.folder / "clock.so", case.search.folder / "seconds"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    seconds.write_bytes(bytes(8))
    case.search.environment |= {"LD_PRELOAD": str(library), "CLOCK_FILE": str(seconds)}


def jump(by_s: int) -> Callable[[Case], None]:
    def strike(case: Case) -> None:
        case.now()
        with (case.search.folder / "seconds").open("r+b") as file:  # in place: the processes have it mapped
            file.write(struct.pack("=q", by_s))

    return strike


ROWS = [
    Row(family="training", part="training", fault="NaN", strike=ask("nan"), may_fail=1, short=True),
    Row(family="training", part="training", fault="OOM by the kernel", strike=no_memory, may_fail=1),
    Row(
        family="training",
        part="training",
        fault="hung collective",
        strike=ask("hang"),
        search={"ranks": 2, "cpus": 2, "trials": 2},
        patience_s=240.0,
    ),
    Row(family="training", part="clock", fault="2 h forward", strike=jump(7200), prepare=own_clock),
    Row(family="training", part="clock", fault="2 h back", strike=jump(-7200), prepare=own_clock),
]
