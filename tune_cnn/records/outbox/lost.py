"""When an outbox delivers no more: the kernel has stopped it, or nothing that waits is taken any more; and its end."""

import os
import signal
import subprocess
from collections.abc import Set
from contextlib import suppress

from tune_cnn.owner import Owner

# A search's commit waits half a minute for a lock that a frozen process holds; a debugger has looked by then.
FROZEN_S = 10.0
STILL_S = 600.0  # for one change: a request takes 15 s at most, the import of mlflow a minute on a full machine
GAP_S = 5.0  # counts for one look: who slept between two of them has seen nothing
ENDED_WITHIN_S = 10.0  # an outbox ends when it is asked to, unless a request keeps it


class Frozen:
    """For how long a process has been seen stopped."""

    def __init__(self) -> None:
        self._mark = ""
        self._last_s = self._stopped_s = 0.0

    def look(self, owner: Owner, now_s: float) -> bool:
        """Whether it is stopped now and has been for FROZEN_S."""
        was_s, self._last_s = self._last_s, now_s
        if not owner.is_stopped:
            self._mark = ""
        elif owner.mark != self._mark:
            self._mark, self._stopped_s = owner.mark, 0.0
        else:
            self._stopped_s += min(now_s - was_s, GAP_S)
            return self._stopped_s >= FROZEN_S
        return False


class Still:
    """For how long changes have waited of which none was taken."""

    def __init__(self) -> None:
        self._seen: Set[int] = frozenset()
        self._last_s = self._still_s = 0.0

    def look(self, waiting: Set[int], now_s: float) -> bool:
        """Whether none of them was taken for STILL_S; `waiting`: their ids, the oldest at least."""
        was_s, self._last_s = self._last_s, now_s
        if not self._seen or not self._seen <= waiting:
            self._seen, self._still_s = waiting, 0.0
            return False
        self._still_s += min(now_s - was_s, GAP_S)
        return self._still_s >= STILL_S


def ask_to_end(pid: int) -> None:
    """Have an outbox end after the request that it makes, a stopped one too."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGCONT)


def end(process: "subprocess.Popen[str]") -> None:
    """The same with a child, which is killed where it takes too long."""
    ask_to_end(process.pid)
    try:
        process.wait(ENDED_WITHIN_S)
    except subprocess.TimeoutExpired:
        kill(process)


def kill(process: "subprocess.Popen[str]") -> None:
    """At once; one that waits for a disk for ever is not waited for."""
    process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(ENDED_WITHIN_S)
