"""How much a node's cache of decoded images may hold: what was not used for longest goes first."""

import contextlib
import fcntl
import os
import shutil
from pathlib import Path

from tune_cnn.errors import DataError

DISK_GB = "TUNE_CNN_DISK_GB"  # the variable: GB, of 1,000,000,000 bytes
USED = ".used"  # ends the name of the file whose lock says that an entry is in use, and whose time says since when


def quota_bytes() -> int | None:
    """What TUNE_CNN_DISK_GB allows; None where it isn't set. DataError where it is no size."""
    text = os.environ.get(DISK_GB, "")
    if not text:
        return None
    try:
        size_gb = float(text)
    except ValueError:
        size_gb = 0.0
    if not size_gb > 0:
        raise DataError(
            f"{DISK_GB}: must be a number of GB above 0, got {text!r}; correct it, or unset it for no limit"
        )
    return round(size_gb * 1e9)


_HELD: dict[Path, int] = {}  # descriptors by entry, open as long as this process lives: maps of an entry go about


def hold(entry: Path) -> None:
    """Say that this process uses the entry from now on; of a cache that can't be written nothing is removed either."""
    with contextlib.suppress(OSError):
        if entry not in _HELD:
            used = os.open(f"{entry}{USED}", os.O_WRONLY | os.O_CREAT, 0o666)
            _HELD[entry] = used
            fcntl.flock(used, fcntl.LOCK_SH)
        os.utime(_HELD[entry])


def make_room(cache_dir: Path, needed: int, quota: int) -> list[str]:
    """Remove entries that nobody uses until `needed` bytes more keep the quota; the names of those that went.

    DataError where they can't: what is in use stays.
    """
    sizes = {entry: size_of(entry) for entry in cache_dir.iterdir() if _is_entry(entry)}
    held, gone = sum(sizes.values()), []
    for entry in sorted(sizes, key=_last_used):
        if held + needed <= quota:
            break
        if _removed(entry):
            held -= sizes[entry]
            gone.append(entry.name)
    if held + needed > quota:
        raise DataError(
            f"the cache of decoded images in {cache_dir} may hold {quota / 1e9:g} GB, by {DISK_GB}; this data set "
            f"needs {needed / 1e9:.2g} GB, and sets in use hold {held / 1e9:.2g} GB; raise "
            f"{DISK_GB}, or end what uses them"
        )
    return gone


def size_of(folder: Path) -> int:
    """Bytes of the files beneath it; what vanishes meanwhile counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size if not path.is_dir() else 0
        except OSError:
            continue
    return total


def _is_entry(path: Path) -> bool:
    return path.is_dir() and (path / "facts.json").is_file()


def _last_used(entry: Path) -> float:
    for path in (Path(f"{entry}{USED}"), entry):
        try:
            return path.stat().st_mtime
        except OSError:
            continue
    return 0.0


def _removed(entry: Path) -> bool:
    """Whether it is gone now; not where a process uses it."""
    used = Path(f"{entry}{USED}")
    try:
        with used.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            aside = entry.with_name(f"{entry.name}.tmp{os.getpid()}")
            entry.rename(aside)  # at once: nobody finds half of it
            shutil.rmtree(aside, ignore_errors=True)
    except OSError:
        return False
    return True
