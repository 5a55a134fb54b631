"""How much the checkpoints and logs of a home may hold: what is oldest goes first, never a trial's only checkpoint."""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tune_cnn.training.data.cache_quota import DISK_GB, quota_bytes

CHECKPOINT = re.compile(r"checkpoint-(\d{6,})(?:-(\d{6,}))?-[0-9a-f]{64}\.pt")  # epoch, and step within the next one
LOG_BYTES = 2**20  # of a log's end stay in any case: some ten thousand lines
LOOK_S = 60.0  # between two looks: a large home has thousands of files


@dataclass(frozen=True, kw_only=True)
class _File:
    path: Path
    size: int
    changed_s: float


class HomeQuota:
    """Looked at before trials begin, once a minute at most."""

    def __init__(
        self, root: Path, report: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`root`: the folder of the studies' checkpoints and logs."""
        self._root, self._report, self._clock = root, report, clock
        self._looked_s: float | None = None
        self._said = False

    def keep(self) -> None:
        quota, now_s = quota_bytes(), self._clock()
        if quota is None or (self._looked_s is not None and now_s - self._looked_s < LOOK_S):
            return
        self._looked_s = now_s
        left = keep_within(self._root, quota)
        if left > quota and not self._said:
            self._said = True
            self._report(
                f"{self._root}: checkpoints and logs hold {left / 1e9:.2f} GB, more than {DISK_GB} allows "
                f"({quota / 1e9:g} GB); each of them is the only one of an unfinished trial, so they stay"
            )


def keep_within(root: Path, quota: int) -> int:
    """Let files go, the oldest first, until checkpoints and logs hold no more than that; bytes that they hold then.

    Checkpoints that have a newer one beside them, and all but the ends of logs. Another search may do the same.
    """
    checkpoints, logs = list(_checkpoints(root)), list(_files(root.glob("*/*.log")))
    held = sum(file.size for file in [*checkpoints, *logs])
    for file in sorted([*_superseded(checkpoints), *logs], key=lambda one: one.changed_s):
        if held <= quota:
            break
        held -= _shortened(file) if file.path.suffix == ".log" else _deleted(file)
    return held


def _checkpoints(root: Path) -> Iterator[_File]:
    return (file for file in _files(root.glob("*/checkpoints/**/*.pt")) if CHECKPOINT.fullmatch(file.path.name))


def _files(paths: Iterator[Path]) -> Iterator[_File]:
    for path in paths:
        with suppress(OSError):  # gone meanwhile
            stat = path.stat()
            yield _File(path=path, size=stat.st_size, changed_s=stat.st_mtime)


def _superseded(checkpoints: list[_File]) -> list[_File]:
    """Those that are not the newest of their trial."""
    newest: dict[Path, tuple[int, int]] = {}
    for file in checkpoints:
        newest[file.path.parent] = max(newest.get(file.path.parent, (0, 0)), _position(file))
    return [file for file in checkpoints if _position(file) < newest[file.path.parent]]


def _position(file: _File) -> tuple[int, int]:
    found = CHECKPOINT.fullmatch(file.path.name)
    assert found is not None, file.path
    return int(found[1]), int(found[2] or 0)


def _deleted(file: _File) -> int:
    with suppress(OSError):
        file.path.unlink(missing_ok=True)
        return file.size
    return 0


def _shortened(file: _File) -> int:
    """Cut down to its last lines; in place, as the process that appends to it has it open."""
    if file.size <= LOG_BYTES:
        return 0
    with suppress(OSError), file.path.open("r+b") as log:
        log.seek(-LOG_BYTES, os.SEEK_END)
        end = log.read()
        log.seek(0)
        log.write(end[end.find(b"\n") + 1 :])
        log.truncate()
        return file.size - LOG_BYTES
    return 0
