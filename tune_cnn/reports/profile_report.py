"""A profile as its page and the terminal show it: plain data, from whatever holds the study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tune_cnn.untyped import Plain


@dataclass(frozen=True, kw_only=True)
class ProfiledCell:
    """One combination: medians over its repeats. What couldn't be measured here is absent in `metrics`."""

    params: Mapping[str, Plain]  # the dimensions of the grid
    batch_size: int  # over all ranks
    loader: str
    workers: int  # of a rank's loader
    ranks: int
    cores: int = 1  # of all ranks
    metrics: Mapping[str, float] = field(default_factory=dict)  # none where it failed
    reached: float | None = None  # images_per_s over the ceiling's
    scaling: float | None = None  # images_per_s over that of the fewest ranks, times their share of these ranks
    bound: str  # what holds it up, as a word of JSON
    called: str  # the same in words
    why: str
    spread_pct: float | None = None  # of the repeats' images_per_s: largest less smallest, over the median
    repeats: int = 0
    is_known: bool = False  # from an earlier profile

    @property
    def feed(self) -> tuple[str, int]:
        """Who makes its batches."""
        return self.loader, self.workers

    @property
    def setting(self) -> tuple[tuple[str, Plain], ...]:
        """All of it but the batch, and who makes the batches."""
        apart = {"batch_size", "loader", "loader_workers"}
        return tuple((key, value) for key, value in {**self.params, "ranks": self.ranks}.items() if key not in apart)


@dataclass(frozen=True, kw_only=True)
class Advice:
    """At one batch, in one setting: the fewest workers that are as good as the best."""

    setting: Mapping[str, Plain]
    batch_size: int
    loader: str
    workers: int
    images_per_s: float
    best_images_per_s: float


@dataclass(frozen=True, kw_only=True)
class ProfileReport:
    study: str
    description: str
    spec_yaml: str
    state: str
    started: datetime | None
    cells: Sequence[ProfiledCell]
    in_all: int  # cells of the whole grid, of which `cells` may be an even part
    repeats: int
    verdict: Sequence[str]  # three sentences
    advice: Sequence[Advice]
    rules: Sequence[tuple[str, str, str]]  # of each stall: its name, when it is given, what mends it
    near_pct: float  # how near to the best is as good
    hardware: Mapping[str, Plain] = field(default_factory=dict)
    versions: Mapping[str, Plain] = field(default_factory=dict)
    notes: Sequence[str] = ()
    commands: Sequence[str] = ()

    @property
    def measured(self) -> list[ProfiledCell]:
        return [cell for cell in self.cells if cell.metrics]
