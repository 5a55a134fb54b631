"""Signals: while trials run, the first of them ends at the epoch, the second at once; elsewhere, any."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from tune_cnn.errors import Interrupted
from tune_cnn.study.hints import again

# Ctrl-C; what systemd, Kubernetes and a preempting Slurm send; what Slurm sends before a job's time is over, and
# `cancel` to a submitted search
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
GENTLE = signal.SIGUSR1  # sent again it hurries nothing: who sends it may not know whether the first one arrived
ENDING = "Ending at the epoch, checkpoints are kept. Ctrl-C again ends at once."  # what the first signal does

LEAVING = "Ending with a checkpoint, which the same command goes on from. Ctrl-C again ends at once."  # of a training

GOING_ON = {"search", "compare", "confirm", "gradients", "profile", "train"}  # commands that, given again, go on

# Children that end by themselves: one cleans up after this process, one delivers what it has stored.
OUTLIVING = ("tune_cnn.trials.cluster.guardian", "tune_cnn.records.outbox.process")
UNHEARD_S = 3.0  # within which a main thread that runs Python takes a signal; a call of Ray's may keep it for ever


@contextmanager
def interruptible(first: Callable[[], None], *, unheard: Callable[[int], None] = lambda count: None) -> Iterator[None]:
    """Call `first` at the first signal, raise KeyboardInterrupt at the second. Only the main thread gets signals.

    `unheard` is called in another thread, with the number of signals so far, where the main thread takes none.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    taken = 0

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal taken
        if taken and number == GENTLE:
            return
        taken += 1
        if taken > 1:
            raise KeyboardInterrupt
        first()

    before = {number: signal.signal(number, handle) for number in ENDS}
    try:
        with _arriving(lambda count: unheard(count) if _stays(lambda: taken < count) else None):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _arriving(tell: Callable[[int], None]) -> Iterator[None]:
    """Count signals as they come, in a thread of their own: Python writes them into a pipe at once."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    thread = threading.Thread(target=_read, args=(reading, tell), name="signals", daemon=True)
    thread.start()
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writing)


def _read(reading: int, tell: Callable[[int], None]) -> None:
    count = 0
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while number := pipe.read(1):
            if number[0] in ENDS and not (count and number[0] == GENTLE):
                count += 1
                tell(count)


def _stays(holds: Callable[[], bool]) -> bool:
    until_s = time.monotonic() + UNHEARD_S
    while (stays := holds()) and time.monotonic() < until_s:
        time.sleep(0.05)
    return stays


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM is Ctrl-C here, whoever called us: a notebook, or a search that takes Ctrl-C over for its epochs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    as_ctrl_c = (signal.SIGTERM, signal.SIGUSR1)  # the second as a caller from Python may not have taken it over
    before = {number: signal.signal(number, signal.getsignal(signal.SIGINT)) for number in as_ctrl_c}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def signals_end_at_once() -> Iterator[None]:
    """Each ends the process where it finds it. Raised as KeyboardInterrupt, it could be lost: an import or Ray's
    start may swallow it. A search takes the signals over while its trials run."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: end_at_once()) for number in ENDS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupted() -> str:
    """The last words where nothing is waited for, with the command that goes on, where this one does so."""
    said = "Interrupted; what was stored is kept"
    return f"{said}, and the same command goes on: {again()}" if GOING_ON & {*sys.argv[1:2]} else f"{said}."


def end_at_once() -> None:
    """Outside a search's epochs, and at the second Ctrl-C within them: nothing is waited for, nothing left behind."""
    from psutil import Error, Process

    sys.stderr.write(f"{interrupted()}\n")
    for child in Process().children(recursive=True):  # Ray's, where it was still starting
        try:
            if not any(module in child.cmdline() for module in OUTLIVING):
                child.kill()
        except Error:
            continue
    sys.stdout.flush()
    os._exit(Interrupted.exit_code)  # Ray's threads would keep an orderly exit waiting
