"""Locks: what several processes on a node need to share a folder."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file's lock; it falls with the process, so a killed one leaves none behind."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
