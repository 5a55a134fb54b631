"""Processes of this node, seen and ended from outside: their state, their stacks, and an end that a frozen one can't
put off."""

import faulthandler
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tune_cnn.trials.stalls.stalls import Process

STACKS_S = 3.0  # for a process to write its stacks: milliseconds, unless the node swaps
LONGEST = 200_000  # bytes of a rank's stacks: a thread's are some 5 kB
GONE = "gone"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A process from outside."""

    state: str  # in the kernel's words, such as "S (sleeping)"; `GONE` where it is no more
    text: str  # for a person: what the kernel says of it, and its stacks


def stacks_signal() -> int:
    """At which a rank's process writes its stacks; one of those that nobody else has a use for."""
    return int(signal.SIGRTMIN) + 5


def write_stacks_on_signal() -> int | None:
    """Have this process write all its threads' stacks when it is asked from outside, even where a call into C keeps
    every other thread from running. The descriptor of the file, which has no name and ends with the process; None
    where the system has no such files."""
    if not hasattr(os, "memfd_create"):
        return None
    descriptor = os.memfd_create("tune_cnn-stacks")
    faulthandler.register(stacks_signal(), file=descriptor, all_threads=True)
    return descriptor


def born(pid: int) -> str:
    """When a process was started, in the kernel's words; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def look_at(processes: Mapping[int, Process], *, end: bool) -> dict[int, Seen]:
    """Every process, by rank, as it is; with `end` it is killed afterwards, which a frozen one is too."""
    there = {rank: one for rank, one in processes.items() if born(one.pid) == one.born}
    states = {rank: _status(one.pid, "State") for rank, one in there.items()}
    before = {rank: _written(one) for rank, one in there.items()}
    for rank, one in there.items():
        if one.stacks_fd is not None and states[rank][:1] not in {"T", "t", "Z", ""}:
            with suppress(OSError):
                os.kill(one.pid, stacks_signal())
    until_s = time.monotonic() + STACKS_S
    seen = {rank: _seen(one, states[rank], until_s, before[rank]) for rank, one in there.items()}
    if end:
        for one in there.values():
            with suppress(OSError):
                os.kill(one.pid, signal.SIGKILL)
    return {rank: seen.get(rank, Seen(state=GONE, text="the process is gone")) for rank in processes}


def _written(one: Process) -> int:
    """Bytes of stacks that it was asked for before: their file only grows."""
    try:
        return Path(f"/proc/{one.pid}/fd/{one.stacks_fd}").stat().st_size
    except OSError:
        return 0


def _seen(one: Process, state: str, until_s: float, before: int) -> Seen:
    said = [f"state {state}", *(f"{key} {_status(one.pid, key)}" for key in ("Threads", "VmRSS"))]
    with suppress(OSError):
        said.append(f"the kernel has it in {Path(f'/proc/{one.pid}/wchan').read_text().strip() or '?'}")
    if state[:1] in {"T", "t"}:
        return Seen(state=state, text="; ".join(said) + "\nfrozen, so that it can't show its stacks\n")
    return Seen(state=state, text="; ".join(said) + "\n" + _stacks(one, until_s, before))


def _stacks(one: Process, until_s: float, start: int) -> str:
    """What the process has written to the signal, from the byte `start`; read until it grows no more."""
    path, text = Path(f"/proc/{one.pid}/fd/{one.stacks_fd}"), b""
    while time.monotonic() < until_s:
        time.sleep(0.1)
        before = text
        try:
            with path.open("rb") as file:
                file.seek(start)
                text = file.read(LONGEST)
        except OSError as error:
            return f"its stacks can't be read: {error.strerror}\n"
        if text and text == before:
            break
    return text.decode(errors="replace") or f"it has not written its stacks in {STACKS_S:.0f} s\n"


def _status(pid: int, key: str) -> str:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{key}:")), "")
