"""Files that appear whole or not at all."""

import contextlib
import os
from pathlib import Path

from tune_cnn.errors import InputError


def write_whole(path: Path, content: str | bytes) -> None:
    """All of a file or none, in folders that are made for it; InputError where the place can't be written."""
    path = path.absolute()  # "." has no name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_whole(path, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise InputError(
            f"{path}: can't be written: {error.strerror or error}; free the place or choose another"
        ) from None


def replace_whole(path: Path, content: bytes | memoryview, *, outlives_power_cut: bool = False) -> None:
    """Write beside it under a temporary name, `.NAME.PID.tmp`, then rename; OSError where that fails."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(content)
            if outlives_power_cut:
                file.flush()
                os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    if outlives_power_cut:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make names in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
