"""What the user asks a manifest for, beside the spec."""

from dataclasses import dataclass
from pathlib import Path

from tune_cnn.spec import StudySpec


@dataclass(frozen=True, kw_only=True)
class Source:
    """A spec as it was named, and what it says."""

    named: str  # a recipe, or the absolute path of a file
    overrides: tuple[str, ...]  # --set, as it was given
    spec: StudySpec

    @property
    def words(self) -> list[str]:
        """The spec as `tune-cnn search` takes it."""
        return [self.named, *(word for one in self.overrides for word in ("--set", one))]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """None: not given. An option that a kind has no use for is refused (`kinds.py`)."""

    programs: Path  # the folder of tune-cnn, ray and python, at the same place on every node
    folder: Path  # in which the commands are given
    home: Path | None = None
    storage: str | None = None
    secrets: str | None = None  # a file, or the name of a Kubernetes Secret
    notice_s: int = 120  # between the signal and the kill; an epoch and its checkpoint must fit
    nodes: int | None = None
    slots: int | None = None
    node: str | None = None  # Slurm: the one node to run on
    image: str | None = None  # Kubernetes, as the three below
    claim: str | None = None
    memory_gib: int | None = None
    node_selector: tuple[str, ...] = ()
