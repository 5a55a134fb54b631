"""Whose something is: a process that can be told from every other, and whether it is gone for certain."""

import hashlib
import json
import os
import platform
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

SAME_S = 0.1  # two processes of one PID are farther apart; Linux counts in hundredths
_STATES = {  # Linux's letters, in psutil's words
    "Z": psutil.STATUS_ZOMBIE,
    "X": psutil.STATUS_DEAD,
    "T": psutil.STATUS_STOPPED,
    "t": psutil.STATUS_TRACING_STOP,
}
FILE = "owner.json"  # in a folder that we make outside a home: whose it is


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A process that can be told from every other, as far as one machine can."""

    host: str
    machine: str  # boot and PID namespace: only there does a PID mean anything
    pid: int
    born_s: float  # PIDs come back; start times don't. After boot on Linux, as a clock that is set moves no other

    @property
    def is_dead(self) -> bool:
        """Known for certain to be gone; False where it can't be known from here."""
        return self.is_here and _is_gone(self.pid, self.born_s)

    @property
    def is_stopped(self) -> bool:
        """Whether the kernel has stopped it, by a signal or for a debugger; False where it can't be known from here."""
        return self.is_here and _is_stopped(self.pid, self.born_s)

    @property
    def is_here(self) -> bool:
        """Whether its PID means anything in this process."""
        return self.machine == machine()

    @property
    def mark(self) -> str:
        """The owner in a name: `MACHINE-PID-BORN`, of letters, digits and hyphens."""
        return f"{_short(self.machine)}-{self.pid}-{round(self.born_s * 100)}"


def this_process() -> Owner:
    return process(os.getpid())


def process(pid: int) -> Owner:
    """That process here, from now on; psutil.NoSuchProcess where there is none."""
    return Owner(host=platform.node(), machine=machine(), pid=pid, born_s=_state_and_birth(pid)[1])


def marks_the_dead(mark: str) -> bool:
    """Whether an owner's mark is one of this machine, and that process gone for certain."""
    short, _, rest = mark.partition("-")
    pid, _, born_cs = rest.partition("-")
    if short != _short(machine()) or not (pid.isdecimal() and born_cs.isdecimal()):
        return False
    return _is_gone(int(pid), int(born_cs) / 100)


def write_owner(folder: Path) -> None:
    """Say that a folder is this process's."""
    (folder / FILE).write_text(json.dumps(asdict(this_process())), encoding="utf-8")


def owner_of(folder: Path) -> Owner | None:
    """Whose a folder is; None where it doesn't say, or belongs to another user: it is not ours to judge then."""
    try:
        path = folder / FILE
        if folder.is_symlink() or folder.stat().st_uid != os.getuid() or path.stat().st_uid != os.getuid():
            return None
        return Owner(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def machine() -> str:
    """This boot and PID namespace."""
    parts = [platform.node()]
    with suppress(OSError):  # Linux; elsewhere the host's name has to do
        parts += [
            Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            str(Path("/proc/self/ns/pid").readlink()),
        ]
    return "|".join(parts)


def _short(machine: str) -> str:
    return hashlib.sha256(machine.encode()).hexdigest()[:12]


def _is_gone(pid: int, born_s: float) -> bool:
    try:
        state, born_now_s = _state_and_birth(pid)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
    # a zombie is dead too: in a container without init nobody reaps what was killed
    return state in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD} or abs(born_now_s - born_s) > SAME_S


def _is_stopped(pid: int, born_s: float) -> bool:
    try:
        state, born_now_s = _state_and_birth(pid)
    except psutil.Error:
        return False
    return state in {psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP} and abs(born_now_s - born_s) <= SAME_S


def _state_and_birth(pid: int) -> tuple[str, float]:
    """psutil's word for the state, and when it began, in seconds."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        found = psutil.Process(pid)  # not Linux; or NoSuchProcess
        return found.status(), found.create_time()
    return _STATES.get(fields[0], fields[0]), int(fields[19]) / os.sysconf("SC_CLK_TCK")
