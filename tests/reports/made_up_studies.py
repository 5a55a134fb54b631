"""Made-up studies for the tests of the reports."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tune_cnn.front.dominance import front
from tune_cnn.metrics import METRICS, EpochPoint, Metric
from tune_cnn.reports.study_report import TrialRow
from tune_cnn.spec import Choice, Range
from tune_cnn.states import TrialState

SEARCHED: dict[str, Choice | Range] = {
    "batch_size": Choice(values=(32, 64, 128, 256)),
    "learning_rate": Range(low=1e-3, high=1.0, log=True),
    "optimizer": Choice(values=("sgd", "adamw")),
    "momentum": Range(low=0.8, high=0.99),
    "channels_last": Choice(values=(False, True)),
}


@dataclass(frozen=True, kw_only=True)
class MadeUp:
    objectives: list[Metric]
    points: list[EpochPoint] = field(default_factory=list)
    front: list[EpochPoint] = field(default_factory=list)
    trials: list[TrialRow] = field(default_factory=list)

    @property
    def params(self) -> dict[int, Any]:
        return {t.number: t.params for t in self.trials}


def made_up(trials: int, objectives: Sequence[str] = ("accuracy", "train_time_s"), epochs: int = 5) -> MadeUp:
    rng = random.Random(0)
    metrics = [METRICS[name] for name in objectives]
    points, rows = [], []
    for number in range(trials):
        batch, rate = rng.choice((32, 64, 128, 256)), 10 ** rng.uniform(-3, 0)
        params: dict[str, Any] = {"batch_size": batch, "learning_rate": rate, "channels_last": rng.random() < 0.5}
        params["optimizer"] = rng.choice(("sgd", "adamw"))
        if params["optimizer"] == "sgd":
            params["momentum"] = rng.uniform(0.8, 0.99)
        curve = [_point(number, epoch, batch, rate) for epoch in range(1, epochs + 1)]
        points += curve
        rows.append(TrialRow(number=number, params=params, state=TrialState.COMPLETE, metrics=curve[-1].metrics))
    return MadeUp(objectives=metrics, points=points, front=front(points, metrics), trials=rows)


def _point(trial: int, epoch: int, batch: int, rate: float) -> EpochPoint:
    accuracy = 0.95 - 0.03 * (math.log10(rate) + 1.2) ** 2 - 0.5 * math.exp(-epoch / 2)
    metrics = {
        "accuracy": accuracy,
        "train_time_s": 60 / batch**0.5 * epoch,
        "peak_memory_mib": 3.0 * batch + trial % 7,
        "val_loss": 1.5 - accuracy,
        "images_per_s": 900.0 * batch**0.5 + trial,
    }
    return EpochPoint(trial=trial, epoch=epoch, metrics=metrics)
