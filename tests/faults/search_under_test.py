"""A search under test: a folder, a temp folder and a /dev/shm of its own, so that all that it leaves can be found."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from faults.verdict import Record, read_record

T = TypeVar("T")
HERE = Path(__file__).parent
OURS = str(Path("/proc/self/ns/mnt").readlink())
SPEC = """\
study: faults
data: {{name: digits, root: /tmp}}
model: {{name: "fault_net:net"}}
space:
  epochs: {epochs}
  batch_size: [64, 128]
  learning_rate: {{low: 0.01, high: 0.3, log: true}}
{space}
metrics: {{pace: {{call: "fault_net:pace", unit: "1", direction: min}}}}
budget: {{trials: {trials}}}
stopper: none
resources: {{checkpoint_every_s: 0, slots: {slots}, ranks: {ranks}, cpus_per_trial: {cpus}, code: [fault_net.py]}}
"""
# In a mount namespace of its own, by which its processes are known whatever they call themselves; needs root.
APART = ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /dev/shm && exec "$@"')


@dataclass(frozen=True, kw_only=True)
class Process:
    pid: int
    title: str
    is_frozen: bool

    @property
    def role(self) -> str:
        for role, mark in ROLES.items():
            if mark in self.title:
                return role
        return "other"

    def send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


ROLES = {  # by what stands in the command line
    "gcs": "/gcs_server",
    "raylet": "/raylet/raylet",
    "outbox": "tune_cnn.records.outbox.process",
    "rank": "ray::RankActor",
    "worker": "ray::WarmTrial",
    "loader": "forkserver",
    "driver": "-m tune_cnn search",
}


class Search:
    """One study in a folder of its own, and every process that was started for it."""

    def __init__(
        self,
        *,
        trials: int = 3,
        epochs: int = 5,
        slots: int = 1,
        ranks: int = 1,
        cpus: int = 0,
        space: str = "",
        options: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        """`prefix`: what every command is started by, as nsenter."""
        self.folder = Path(tempfile.mkdtemp(prefix="f", dir="/tmp"))  # short: Ray's sockets lie in a folder below it
        self.shm = Path("/dev/shm") / self.folder.name
        self.temp = self.folder / "t"
        for folder in (self.shm, self.temp):
            folder.mkdir()
        shutil.copy(HERE / "fault_net.py", self.folder)
        spec = SPEC.format(trials=trials, epochs=epochs, slots=slots, ranks=ranks, cpus=cpus or ranks, space=space)
        (self.folder / "spec.yaml").write_text(spec)
        self.trials, self.options, self.prefix = trials, list(options), list(prefix)
        self.inside: list[str] = []  # of a row with machines: the words by which a command is given on one
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "RAY_", "TUNE_CNN_"))}
        self.environment = {
            **kept,
            "TMPDIR": str(self.temp),
            "TUNE_CNN_CACHE": str(self.folder / "cache"),
            "OMP_NUM_THREADS": "1",
            **(environment or {}),
        }
        self.url = self.environment.get("TUNE_CNN_STORE", f"sqlite:///{self.folder / 'studies' / 'studies.db'}")
        self.mlflow = self.folder / "mlflow.db"
        self.started: list[subprocess.Popen[bytes]] = []
        self._namespaces: dict[int, str] = {}  # by the PID of what was started there
        self._held: list[int] = []  # files of these: a namespace that is let go gives its name to another row's

    def spawn(self, *words: str, log: str = "log", **environment: str) -> "subprocess.Popen[bytes]":
        """Start any command as one of the search's own processes."""
        with (self.folder / log).open("ab") as out:
            process = subprocess.Popen(
                [*self.prefix, *APART, str(self.shm), *self.inside, *words],
                cwd=self.folder,
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError):
                held = os.open(f"/proc/{process.pid}/ns/mnt", os.O_RDONLY)
                namespace = str(Path(f"/proc/self/fd/{held}").readlink())
                if namespace != OURS:
                    self._namespaces[process.pid] = namespace
                    self._held.append(held)
                    break
                os.close(held)
            time.sleep(0.005)
        self.started.append(process)
        return process

    def command(self) -> "subprocess.Popen[bytes]":
        """The one command, which goes on where the study stands."""
        return self.spawn(sys.executable, "-m", "tune_cnn", "search", "spec.yaml", *self.options, log="said")

    def sync(self) -> "subprocess.Popen[bytes]":
        tracking = [word for flag, word in pairwise(self.options) if flag == "--tracking-uri"]
        options = ["--tracking-uri", tracking[0]] if tracking else []
        return self.spawn(sys.executable, "-m", "tune_cnn", "sync", "faults", *options, log="synced")

    @property
    def said(self) -> list[str]:
        """All that the commands printed, line by line."""
        path = self.folder / "said"
        return path.read_text(errors="replace").splitlines() if path.exists() else []

    def record(self) -> Record | None:
        """The study at this moment; None where it can't be read (yet)."""
        from sqlalchemy.exc import SQLAlchemyError

        if self.url.startswith("sqlite") and not Path(self.url.removeprefix("sqlite:///")).exists():
            return None  # reading would make an empty file
        with suppress(SQLAlchemyError):
            return read_record(self.url)
        return None

    def processes(self, role: str | None = None) -> list[Process]:
        """Those that live, found by their namespace; a zombie has ended."""
        return [p for p in _living(set(self._namespaces.values())) if role is None or p.role == role]

    def of(self, started: "subprocess.Popen[bytes]", role: str | None = None) -> list[Process]:
        """Those that came of one command."""
        mine = {self._namespaces[started.pid]} if started.pid in self._namespaces else set()
        return [p for p in _living(mine) if role is None or p.role == role]

    def one(self, role: str, *, within_s: float = 60) -> Process:
        found = wait_for(lambda: self.processes(role), f"a process {role!r}", within_s=within_s)
        return found[-1]

    def wait_for_points(self, least: int, *, within_s: float = 240) -> None:
        def enough() -> bool:
            record = self.record()
            if self.started and self.started[-1].poll() not in (None, 0):
                raise AssertionError(f"the search ended before its {least} points:\n" + "\n".join(self.said[-15:]))
            return record is not None and len(record.points) >= least

        wait_for(enough, f"{least} points", within_s=within_s)

    def left(self) -> list[str]:
        """What stays behind of a search that has ended: processes, and files in the temp folder and in /dev/shm."""
        return [f"process {p.pid} {p.title[:60]}" for p in self.processes()] + self.files_left()

    def files_left(self) -> list[str]:
        kept = ("torchinductor_",)  # torch's cache of compiled code, made to be found again
        found = [f"t/{path.name}" for path in self.temp.iterdir() if not path.name.startswith(kept)]
        return found + [f"/dev/shm/{path.name}" for path in self.shm.iterdir()]

    def end(self) -> None:
        """Kill all that lives of it."""
        for process in self.processes():
            process.send(signal.SIGKILL)
        for started in self.started:
            started.wait()

    def close(self) -> None:
        """The same, and its folders go."""
        self.end()
        while self._held:
            os.close(self._held.pop())
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.shm, ignore_errors=True)


def wait_for(condition: Callable[[], T], what: str, *, within_s: float) -> T:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {within_s:.0f} s for {what}")


def _living(namespaces: set[str]) -> Iterator[Process]:
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError):
            if str((folder / "ns/mnt").readlink()) not in namespaces:
                continue
            state = (folder / "stat").read_text().rpartition(") ")[2][0]
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if state not in "ZX":
                yield Process(pid=int(folder.name), title=title, is_frozen=state == "T")
