"""Averaged weights (Morales-Brotons, Vogels, Hendrikx, 2024, https://arxiv.org/abs/2411.18704)."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from tune_cnn.errors import StrategyError
from tune_cnn.spec import Choice, Range
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.strategies.framework.running_statistics import refreshed, some_images, tracking
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import TrainingRun
from tune_cnn.training.strategies.framework.values import holding
from tune_cnn.untyped import Untyped


class Ema(Strategy):
    """Evaluate and export an average of the weights, in which those of long ago fade away.

    Morales-Brotons, Vogels, Hendrikx, "Exponential Moving Average of Weights in Deep Learning: Dynamics and Benefits",
    2024, https://arxiv.org/abs/2411.18704, after Polyak & Juditsky (1992): average ← d·average + (1 − d)·weights every
    `every` steps. d is `decay`, but (1 + n)/(10 + n) in the n-th time while that is less: the start is forgotten.
    Training goes on with the weights themselves; the average noise of a large rate away, so that the rate needn't fall
    as far. Running statistics are averaged with the weights, or taken anew from training images for the average, which
    is part of the training time. Where another strategy changes a weight's shape, the average begins anew.
    """

    name = "ema"
    paper = "Morales-Brotons, Vogels & Hendrikx, 2024, https://arxiv.org/abs/2411.18704"
    saves = Saves.DATA
    sites = frozenset({Site.AVERAGING})
    capturable = True
    knobs: ClassVar[Mapping[str, Knob]] = {
        "decay": Knob(
            allowed=Range(low=0.5, high=0.99999), default=0.99, meaning="share of the average that an update keeps"
        ),
        "every": Knob(allowed=Range(low=1, high=1000), default=1, meaning="steps between two updates"),
        "statistics": Knob(
            allowed=Choice(values=("averaged", "refreshed")),
            default="averaged",
            meaning="batch normalisation's running ones: averaged as weights are, or taken anew after each epoch",
        ),
    }

    decay: float
    every: int
    statistics: str

    def __init__(self, **knobs: object) -> None:
        super().__init__(**knobs)
        self._average: dict[str, Tensor] = {}
        self._step = 0  # since the start of the training
        self._updates = 0  # since the average began

    def prepare(self, run: TrainingRun) -> None:
        if self.statistics == "refreshed" and not tracking(run.model):
            raise StrategyError(
                "ema: statistics=refreshed, but the model has no running statistics to refresh; use averaged"
            )

    def after_step(self, run: TrainingRun) -> None:
        self._step += 1
        if self._step % self.every:
            return
        learned = {name: value for name, value in run.model.state_dict().items() if value.is_floating_point()}
        if not _alike(self._average, learned):
            self._average, self._updates = {name: value.clone() for name, value in learned.items()}, 0
            return
        self._updates += 1
        update(self._average, learned, decay=decay_of(self._updates, self.decay))

    def evaluated(self, run: TrainingRun, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if not _alike(self._average, {name: values[name] for name in values if values[name].is_floating_point()}):
            return values  # no step has been averaged since the net was given its shape
        if self.statistics == "averaged":
            return {**values, **self._average}
        with holding(run.model, self._average):
            return {**values, **self._average, **refreshed(run.model, some_images(run))}

    def state_dict(self) -> dict[str, Untyped]:
        return {"average": self._average, "step": self._step, "updates": self._updates}

    def load_state_dict(self, run: TrainingRun, state: Mapping[str, Untyped]) -> None:
        self._average = {name: value.to(run.device, copy=True) for name, value in state["average"].items()}
        self._step, self._updates = state["step"], state["updates"]


def decay_of(updates: int, decay: float) -> float:
    """Of the update of that number, from 1: little is kept of a start that was drawn at random."""
    return min(decay, (1 + updates) / (10 + updates))


def update(average: Mapping[str, Tensor], learned: Mapping[str, Tensor], *, decay: float) -> None:
    """average ← decay · average + (1 − decay) · learned, in place."""
    with torch.no_grad():
        torch._foreach_lerp_(list(average.values()), [learned[name] for name in average], 1 - decay)


def _alike(average: Mapping[str, Tensor], learned: Mapping[str, Tensor]) -> bool:
    return average.keys() == learned.keys() and all(average[name].shape == learned[name].shape for name in average)
