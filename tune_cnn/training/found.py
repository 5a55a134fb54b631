"""What is found before any trial: plain data that crosses processes, into a driver that does without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tune_cnn.spec.costs import Cost
from tune_cnn.spec.strategies import Cards
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.models.facts import ModelFacts
from tune_cnn.untyped import Plain


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What a node with a trial's resources says of the spec."""

    data: DataFacts
    model: ModelFacts | None  # None: the user's own training generator builds what it likes
    strategies: Cards  # of all that the spec names
    precisions: frozenset[str]
    hardware: Mapping[str, Plain]
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One probed configuration."""

    cost: Cost = field(default_factory=Cost)
    reason: str | None = None  # why there is no cost; None: there is one
    out_of_memory: bool = False  # whether that is because it doesn't fit
