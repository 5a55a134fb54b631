"""Where a study is kept, recorded, trained and checkpointed."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tune_cnn.study.hints import NextCommands

CACHE = "~/.cache/tune_cnn"


HOMELESS = f"tune_cnn-cache-{os.getuid()}"  # in the temporary folder, where this user has no home


@dataclass(frozen=True, kw_only=True)
class Locations:
    """Where a search works."""

    home: Path
    tracking_uri: str
    address: str | None = None
    storage: str | None = None  # checkpoints: a folder that all nodes share, or a URI; default: in the home
    loop: str | None = None  # another training than ours, package.module:Class
    debug: bool = False

    @property
    def cache_dir(self) -> str:
        """Where decoded images are kept, with `~` for the user's home on each node."""
        return os.environ.get("TUNE_CNN_CACHE") or (CACHE if _has_home() else f"{tempfile.gettempdir()}/{HOMELESS}")

    def commands(self, study: str) -> NextCommands:
        return NextCommands(
            study=study, home=self.home, tracking_uri=self.tracking_uri, address=self.address, storage=self.storage
        )

    def folder(self, study: str) -> Path:
        return self.home / study

    def checkpoints(self, study: str) -> str:
        root = self.storage or str(self.home.absolute())
        return f"{root.rstrip('/')}/{study}/checkpoints"


def _has_home() -> bool:
    """No HOME, and no entry of this user's in the system's list: there is none."""
    try:
        Path.home()
    except RuntimeError:
        return False
    return True
