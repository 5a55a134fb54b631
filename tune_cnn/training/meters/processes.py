"""This process and everything below it: the rank and its loader workers."""

import time

import psutil

# Listing a process's descendants reads the table of all processes (1.4 ms for 80 of them): it may take this share of
# the time, so the family is refreshed the more rarely the more processes the machine has.
_LISTING_SHARE = 1 / 2000
_LISTED_FOR_S = 2.0  # at least: loader workers start before the clock and live for the trial


class Family:
    """The rank's process and its descendants, live or not yet reaped.

    A process of ours that is no loader worker counts as well (in `tune-cnn train` without Ray: whatever else the
    caller started).
    """

    def __init__(self) -> None:
        self.own = psutil.Process()
        self._descendants: list[psutil.Process] = []
        self._listed_until_s = 0.0

    def refresh(self) -> None:
        """List the descendants now."""
        begun = time.perf_counter()
        self._descendants = self.own.children(recursive=True)
        ended = time.perf_counter()
        self._listed_until_s = ended + max(_LISTED_FOR_S, (ended - begun) / _LISTING_SHARE)

    def refresh_if_due(self) -> None:
        if time.perf_counter() >= self._listed_until_s:
            self.refresh()

    def cpu_time_s(self) -> float:
        """CPU seconds so far, user and system.

        Each process's own time and that of the children it has reaped: a worker that ends moves from the one to the
        other, so the difference of two readings misses nothing.
        """
        return sum(_cpu_time_s(process) for process in (self.own, *self._descendants))

    def resident_bytes(self) -> int:
        """Memory resident now: all of this process's, and what its descendants hold for themselves alone.

        Descendants map the same libraries, data cache and batches; counted in each they would stand there many times.
        """
        return self.own.memory_info().rss + sum(_private_bytes(process) for process in self._descendants)


def _cpu_time_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:  # ended between listing and reading; its time is now its parent's
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def _private_bytes(process: psutil.Process) -> int:
    try:
        memory = process.memory_info()
    except psutil.Error:  # ended: holds nothing
        return 0
    return int(memory.rss - getattr(memory, "shared", 0))  # no `shared` but on Linux
