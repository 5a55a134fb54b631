"""Signals: while trials run, the first of them ends at the epoch, the second at once; elsewhere, any."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from tune_cnn.errors import Interrupted

# Ctrl-C; what systemd, Kubernetes and a preempting Slurm send; what Slurm sends before a job's time is over
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
ENDING = "Ending at the epoch, checkpoints are kept. Ctrl-C again ends at once."  # what the first signal does


@contextmanager
def interruptible(first: Callable[[], None]) -> Iterator[None]:
    """Call `first` at the first signal, raise KeyboardInterrupt at the second. Only the main thread gets signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told = False

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal told
        if told:
            raise KeyboardInterrupt
        told = True
        first()

    before = {number: signal.signal(number, handle) for number in ENDS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM is Ctrl-C here. Ray puts a handler of its own in place as it starts, which ends with another code."""
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


def end_at_once() -> None:
    """Outside a search's epochs, and at the second Ctrl-C within them: nothing is waited for, nothing left behind."""
    from psutil import Error, Process

    sys.stderr.write("Interrupted; what was stored is kept.\n")
    for child in Process().children(recursive=True):  # Ray's, where it was still starting
        try:
            child.kill()
        except Error:
            continue
    sys.stdout.flush()
    os._exit(Interrupted.exit_code)  # Ray's threads would keep an orderly exit waiting
