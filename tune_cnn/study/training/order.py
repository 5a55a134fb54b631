"""What `train` is to do, and what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tune_cnn.spec import StudySpec
from tune_cnn.study.export import Export
from tune_cnn.study.locations import Locations
from tune_cnn.study.session.session import Report
from tune_cnn.training.messages import Program, TrainingJob
from tune_cnn.untyped import Plain

WEIGHTS, CARD, CONFIG, CHANGES = "model.safetensors", "README.md", "config.yaml", "changes.json"


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be trained, and where it goes."""

    export: Export
    spec: StudySpec
    locations: Locations
    folder: Path
    all_data: bool
    register: str | None
    report: Report


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came out of the training's process."""

    job: TrainingJob
    info: Mapping[str, Plain]  # what `preflight.check` found here
    notes: list[str]
    achieved: Mapping[str, float]
    changes: Sequence[Mapping[str, Plain]]  # by strategies, to the factory's model
    weights: bytes | None  # None: the user's own training keeps its model to itself
    program: Program | None  # None: not asked for, or not to be had
    unexported: str  # why it is not to be had


def promised_by(export: Export) -> Mapping[str, float]:
    metrics: Mapping[str, float] = export.promise.get("metrics", {})
    return metrics
