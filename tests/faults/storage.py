"""Faults of disks: where checkpoints lie, and where the study's home is."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from faults.rows import Case, Row

SLOW_BYTES_PER_S = 20_000  # a checkpoint of the small net is some 10 kB
THROTTLE = Path("/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device")
MEMORY = {"storage": "2m", "studies": "160m"}  # sizes of the file systems; a home needs 64 MiB free for a new trial


def _call(*words: str | Path) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


def in_memory(name: str) -> Callable[[Case], None]:
    """A small file system at that folder of the search's, `storage` or the home `studies`."""

    def prepare(case: Case) -> None:
        place = case.search.folder / name
        place.mkdir()
        _call("mount", "-t", "tmpfs", "-o", f"size={MEMORY[name]}", "tmpfs", place)
        case.at_close.insert(0, lambda: _call("umount", "--lazy", place))
        if name == "storage":
            case.search.options += ["--storage", str(place)]

    return prepare


def on_a_disk(case: Case) -> None:
    """Checkpoints on an ext4 of their own, in a file."""
    image, place = case.search.folder / "image", case.search.folder / "storage"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(40 * 2**20)
    _call("mkfs.ext4", "-q", image)
    _call("mount", "-o", "loop", image, place)
    case.at_close.insert(0, lambda: _call("umount", "--lazy", place))
    case.search.options += ["--storage", str(place)]


def full(name: str, for_s: float) -> Callable[[Case], None]:
    """Nothing more can be written there for so long."""

    def strike(case: Case) -> None:
        filler = case.search.folder / name / "filler"
        case.now()
        try:
            with filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        except OSError:
            pass
        _later(case, for_s, lambda: filler.unlink(missing_ok=True))

    return strike


def read_only(case: Case) -> None:
    place = case.search.folder / "storage"
    case.now()
    _call("mount", "-o", "remount,ro", place)
    _later(case, 15.0, lambda: _call("mount", "-o", "remount,rw", place))


def slow(case: Case) -> None:
    source = subprocess.run(
        ["findmnt", "-no", "SOURCE", case.search.folder / "storage"], check=True, capture_output=True, text=True
    ).stdout.strip()
    number = (Path("/sys/block") / Path(source).name / "dev").read_text().strip()
    case.now()
    THROTTLE.write_text(f"{number} {SLOW_BYTES_PER_S}")
    case.at_close.append(lambda: THROTTLE.write_text(f"{number} 0"))


def hangs(case: Case) -> None:
    """Every write waits for half a minute."""
    place = case.search.folder / "storage"
    case.now()
    _call("fsfreeze", "--freeze", place)
    _later(case, 30.0, lambda: _call("fsfreeze", "--unfreeze", place))


def torn_checkpoint(case: Case) -> None:
    """The machine went down as a checkpoint was written, on a disk that had promised more than it held."""
    case.now()
    case.commands[-1].send_signal(signal.SIGKILL)
    case.commands[-1].wait()
    time.sleep(1)  # the worker may be writing
    newest = max((case.search.folder / "studies").rglob("checkpoint-*.pt"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])


def _later(case: Case, seconds: float, undo: Callable[[], object]) -> None:
    """Once, after so long, or at the row's end."""
    done = threading.Lock()

    def once() -> None:
        if done.acquire(blocking=False):
            undo()

    timer = threading.Timer(seconds, once)
    timer.start()
    case.cleanups.append(once)


def _row(fault: str, strike: Callable[[Case], None], prepare: Callable[[Case], None] = lambda case: None) -> Row:
    part = "home (store)" if "home" in fault else "storage (checkpoints)"
    return Row(family="storage", part=part, fault=fault, strike=strike, prepare=prepare, search={"trials": 5})


ROWS = [
    _row("full for 15 s", full("storage", 15.0), in_memory("storage")),
    _row("home full for 20 s", full("studies", 20.0), in_memory("studies")),
    _row("read-only for 15 s", read_only, in_memory("storage")),
    _row("slow, 20 kB/s", slow, on_a_disk),
    _row("hangs for 30 s", hangs, on_a_disk),
    _row("torn checkpoint, after kill -9", torn_checkpoint),
]
