"""Lookahead (Zhang, Lucas, Hinton, Ba, 2019, https://arxiv.org/abs/1907.08610)."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from tune_cnn.spec import Range
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import TrainingRun
from tune_cnn.untyped import Untyped


class Lookahead(Strategy):
    """Every few steps draw slow weights towards the ones that learn, and go on from the slow ones.

    Zhang, Lucas, Hinton, Ba, "Lookahead Optimizer: k steps forward, 1 step back", 2019,
    https://arxiv.org/abs/1907.08610: slow ← slow + α(fast − slow), fast ← slow every k = `every` steps, α = 1 − `keep`.
    Jordan (2024, arXiv 2404.00498) lets `keep` grow with the third power of the share of the horizon that is over:
    `growth: 3`. Running statistics are drawn along. The optimizer's momentum stays as it is. At the end of the training
    the model has the slow weights. What changes its shape under another strategy begins anew.
    """

    name = "lookahead"
    paper = "Zhang, Lucas, Hinton, Ba, 2019, https://arxiv.org/abs/1907.08610"
    saves = Saves.DATA
    sites = frozenset({Site.AVERAGING})
    capturable = True
    knobs: ClassVar[Mapping[str, Knob]] = {
        "every": Knob(allowed=Range(low=1, high=1000), default=5, meaning="steps between two looks"),
        "keep": Knob(
            allowed=Range(low=0.0, high=0.999), default=0.5, meaning="share of the slow weights that a look keeps"
        ),
        "growth": Knob(
            allowed=Range(low=0.0, high=10.0),
            default=0.0,
            meaning="power of the share of the horizon by which `keep` grows; 0: it is the same throughout",
        ),
    }
    forbids: ClassVar[Mapping[str, str]] = {
        "weight_norm": "weight_norm folds its weights before lookahead can set them to the slow ones"
    }

    every: int
    keep: float
    growth: float

    def __init__(self, **knobs: object) -> None:
        super().__init__(**knobs)
        self._slow: dict[str, Tensor] = {}
        self._step = 0  # since the start of the training

    def start_epoch(self, run: TrainingRun, epoch: int) -> None:
        if epoch == 0:
            self._look(run, keep=1.0)

    def resume_epoch(self, run: TrainingRun, epoch: int) -> None:
        """The slow weights and the step are in the state."""

    def after_step(self, run: TrainingRun) -> None:
        self._step += 1
        if self._step % self.every == 0:
            share = min(1.0, self._step / (run.epochs * run.steps_per_epoch))
            self._look(run, keep=self.keep * share**self.growth)

    def finish(self, run: TrainingRun) -> None:
        self._look(run, keep=1.0)

    def _look(self, run: TrainingRun, *, keep: float) -> None:
        learning = {name: value for name, value in run.model.state_dict().items() if value.is_floating_point()}
        known = {name: self._slow[name] for name, value in learning.items() if _alike(self._slow.get(name), value)}
        look(known, learning, keep=keep)
        self._slow = {name: known[name] if name in known else value.clone() for name, value in learning.items()}

    def state_dict(self) -> dict[str, Untyped]:
        return {"slow": self._slow, "step": self._step}

    def load_state_dict(self, run: TrainingRun, state: Mapping[str, Untyped]) -> None:
        self._slow = {name: value.to(run.device, copy=True) for name, value in state["slow"].items()}
        self._step = state["step"]


def look(slow: Mapping[str, Tensor], fast: Mapping[str, Tensor], *, keep: float) -> None:
    """slow ← keep · slow + (1 − keep) · fast, and fast ← slow, in place, for all that has a slow value."""
    with torch.no_grad():
        for name, value in slow.items():
            value.lerp_(fast[name], 1 - keep)
            fast[name].copy_(value)


def _alike(slow: Tensor | None, fast: Tensor) -> bool:
    return slow is not None and slow.shape == fast.shape
