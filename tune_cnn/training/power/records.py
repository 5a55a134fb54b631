"""What a GPU's power limit was before a search changed it: a file, and a lock that lives as long as who holds it."""

import fcntl
import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tune_cnn.files import replace_whole

POLL_S = 0.1


def state_folder() -> Path:
    """Where this node's user has the records: the same for every search, wherever its studies are kept."""
    root = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    try:
        return Path(root).expanduser() / "tune_cnn" / "power_limits"
    except RuntimeError:  # this user has no home
        return Path(tempfile.gettempdir()) / f"tune_cnn-state-{os.getuid()}" / "power_limits"


def recorded(folder: Path) -> list[str]:
    """UUIDs of the GPUs that there are records of; of other nodes' too, where homes are shared."""
    return sorted(path.stem for path in folder.glob("*.json"))


@dataclass(frozen=True, kw_only=True)
class Record:
    """One GPU's record, its lock held: nobody else may change the limit. Its methods raise OSError."""

    folder: Path
    uuid: str
    lock: int  # descriptor

    @classmethod
    def taken(cls, folder: Path, uuid: str, *, patience_s: float) -> "Record | None":
        """The record with its lock; None where another process has that for so long.

        The system frees the lock however its holder ends; what kill -9 has hit takes a moment to go.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / f"{uuid}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        until_s = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < until_s:
                    time.sleep(POLL_S)
                    continue
                os.close(lock)
                return None
            return cls(folder=folder, uuid=uuid, lock=lock)

    @property
    def path(self) -> Path:
        return self.folder / f"{self.uuid}.json"

    def keep(self, limit_mw: int) -> None:
        """Write down what the limit is, unless it is told already: then it was changed by one who was killed."""
        if not self.path.exists():
            content = json.dumps({"uuid": self.uuid, "limit_mw": limit_mw})
            replace_whole(self.path, content.encode(), outlives_power_cut=True)

    def limit_mw(self) -> int | None:
        """What the limit was; None where it was never changed. ValueError where the file tells nothing."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        told = json.loads(content)
        limit = told.get("limit_mw") if isinstance(told, dict) else None
        if not isinstance(limit, int):
            raise ValueError(f"{self.path} tells no power limit")
        return limit

    def drop(self) -> None:
        self.path.unlink()

    def free(self) -> None:
        """Let go of the lock; its file stays, as another may be waiting at it."""
        os.close(self.lock)
