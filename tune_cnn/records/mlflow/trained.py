"""What MLflow's registry is given of a training; apart from what writes it, which imports mlflow."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tune_cnn.spec import DataSpec
from tune_cnn.untyped import Plain


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What is recorded of a training beside its program."""

    study: str
    params: Mapping[str, Plain]
    metrics: Mapping[str, float]
    promised: Mapping[str, float]
    origin: Mapping[str, Plain]  # trial, epoch, …
    epoch: int
    card: str  # Markdown
    files: Mapping[str, Path]  # by their names in the run
    data: DataSpec
    facts: Mapping[str, Plain]  # of the images
