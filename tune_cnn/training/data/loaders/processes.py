"""Loader processes: forked from a clean server that has imported torch already (tune_cnn/README.md, decision 11)."""

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import types
from collections.abc import Iterator
from multiprocessing import connection, forkserver, synchronize, util
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import torch

from tune_cnn.owner import FILE as OWNER_FILE
from tune_cnn.owner import this_process, write_owner
from tune_cnn.untyped import Untyped

# What reading needs, imported once by the server rather than by every process.
PRELOAD = [
    "torch",
    "torch.utils.data",
    "tune_cnn.training.data.loaders.processes",
    "tune_cnn.training.data.loaders.workers",
    "tune_cnn.training.data.sources.packed.file",
    "tune_cnn.training.data.sources.folder.image_file",
    "tune_cnn.training.data.sources.user_items",
]
LONGEST_FOLDER = 70  # bytes: a socket's path has 107 at most, of which multiprocessing adds some 30
SAFE_PATH = "PYTHONSAFEPATH"
SERVER_GONE = 255  # multiprocessing's code of a process of which its fork server can tell nothing any more
KILL_AFTER_S = 5.0  # a process that a signal hasn't ended by then gets SIGKILL


class LoaderProcess(ForkServerProcess):
    """A process that doesn't run the parent's main module again (in a Ray actor that is Ray's whole worker)."""

    def start(self) -> None:
        with _without_main():
            super().start()


class LoaderContext(ForkServerContext):
    """The forkserver context, and the processes started through it: close() must be sure of their end."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[LoaderProcess] = []
        self.set_forkserver_preload(PRELOAD)
        _start_server()

    def Process(self, *args: Untyped, **kwargs: Untyped) -> LoaderProcess:  # type: ignore[override]  # noqa: N802  # as multiprocessing has it
        process = LoaderProcess(*args, **kwargs)
        self.processes.append(process)
        return process

    def lost(self, within_s: float) -> str | None:
        """How one of them has ended although it was wanted, in words; None where all live. Its end may be known a
        moment later than what follows from it."""
        started = [process for process in self.processes if process.pid is not None]
        connection.wait([process.sentinel for process in started], within_s)
        dead = next((process for process in started if not process.is_alive()), None)
        if dead is None:
            return None
        code = dead.exitcode or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended by itself, with code {code}"
        return f"a loader process (pid {dead.pid}) {'is gone with its server' if code == SERVER_GONE else how}"

    def end(self) -> None:
        """Kill what still lives, and wait for it."""
        for process in self.processes:
            if process.pid is not None and process.is_alive():
                process.terminate()
        for process in self.processes:
            if process.pid is None:
                continue
            process.join(KILL_AFTER_S)
            if process.is_alive():
                process.kill()
                process.join()
        self.processes.clear()


def _start_server() -> None:
    """The fork server, if it doesn't run; Python would have it look for modules in the working directory first."""
    _make_folder_for_sockets()
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before


def _make_folder_for_sockets() -> None:
    """multiprocessing's own folder, in which its sockets lie, under /tmp where TMPDIR is too long for them, as Slurm's
    are. It makes the folder once for a process, and takes it away at its end.

    A process that is killed takes nothing away: so folder and semaphores say whose they are."""
    usual = tempfile.tempdir
    if len(os.fsencode(tempfile.gettempdir())) > LONGEST_FOLDER:
        tempfile.tempdir = "/tmp"  # a folder of its own is made in it
    try:
        folder = Path(util.get_temp_dir())
    finally:
        tempfile.tempdir = usual
    if not (folder / OWNER_FILE).exists():
        write_owner(folder)
        configuration: dict[str, Untyped] = multiprocessing.current_process()._config  # type: ignore[attr-defined]  # private, and the one place for it
        configuration["semprefix"] = f"/tune_cnn-{this_process().mark}"


@contextlib.contextmanager
def semaphores_named_ours() -> Iterator[None]:
    """Semaphores made within it say whose they are; joblib gives those of a whole process names of its own, from which
    nobody can tell later whether their owner lives."""
    prefix = multiprocessing.current_process()._config["semprefix"]  # type: ignore[attr-defined]  # as above
    others = synchronize.SemLock._make_name  # type: ignore[attr-defined]  # private, and what joblib replaces

    def name() -> str:
        return f"{prefix}-{next(synchronize.SemLock._rand)}"  # type: ignore[attr-defined]  # as the class does itself

    synchronize.SemLock._make_name = staticmethod(name)  # type: ignore[attr-defined]  # joblib's place
    try:
        yield
    finally:
        synchronize.SemLock._make_name = staticmethod(others)  # type: ignore[attr-defined]  # joblib's place


def initialise_process(_worker: int) -> None:
    """First act of a loader process: one thread, deaf to Ctrl-C (the parent decides), gone when the parent is."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    # DataLoader watches its process's own parent, which is the fork server here and outlives a killed rank.
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Hide the main module: multiprocessing would have the child import it, for nothing that a loader needs."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
