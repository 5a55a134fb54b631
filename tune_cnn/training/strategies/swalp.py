"""SWALP, stochastic weight averaging in low precision (Yang et al., 2019, https://arxiv.org/abs/1904.11943)."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from tune_cnn.spec import StudySpec
from tune_cnn.spec.dimensions import Choice, Range
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.step.optimizers.groups import set_learning_rate
from tune_cnn.training.strategies.framework.running_statistics import refreshed, some_images, tracking
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.switching import check_epochs, switching_epoch
from tune_cnn.training.strategies.framework.training_run import TrainingRun
from tune_cnn.training.strategies.framework.values import holding
from tune_cnn.untyped import Untyped


class Swalp(Strategy):
    """Average, in full precision, the weights that training in low precision passes through, as a simulation.

    Yang, Zhang, Kirichenko, Bai, Wilson, De Sa, "SWALP: Stochastic Weight Averaging in Low-Precision Training", 2019,
    https://arxiv.org/abs/1904.11943. dfp16 beside it is the low precision; the paper's has 8 `bits`, and weights of the
    format itself. From `start` on, the plain mean of the weights at the ends of epochs is what is evaluated and
    exported, with batch normalisation's running statistics taken anew for it from training images, in the time of the
    training. Training goes on with the weights of few bits.

    The mean takes the noise of rounding away as long as the weights go on moving: so the rate stays, from `start` on,
    what it was there (`hold_rate`), whatever the schedule says. Where another strategy changes a weight's shape, the
    mean begins anew.
    """

    name = "swalp"
    paper = "Yang, Zhang, Kirichenko, Bai, Wilson & De Sa, 2019, https://arxiv.org/abs/1904.11943"
    saves = Saves.SIMULATED
    sites = frozenset({Site.AVERAGING})
    needs = frozenset({"dfp16"})
    knobs: ClassVar[Mapping[str, Knob]] = {
        "start": Knob(
            allowed=Range(low=0.05, high=0.95), default=0.75, meaning="share of the epochs before the averaging"
        ),
        "hold_rate": Knob(
            allowed=Choice(values=(True, False)), default=True, meaning="keep the learning rate from there on"
        ),
    }
    start: float
    hold_rate: bool

    def __init__(self, **knobs: object) -> None:
        super().__init__(**knobs)
        self._mean: dict[str, Tensor] = {}
        self._averaged = 0  # epochs
        self._rate: float | None = None  # that is held

    @classmethod
    def check(cls, spec: StudySpec, data: DataFacts) -> None:
        check_epochs(spec, name=cls.name)

    def prepare(self, run: TrainingRun) -> None:
        self._start_epoch(run)

    def after_backward(self, run: TrainingRun) -> None:
        """The step's rate has been set; this is the last place before it is used."""
        if not self.hold_rate or run.epoch < self._start_epoch(run):
            return
        if self._rate is None:
            group = run.optimizer.param_groups[0]
            self._rate = float(group["lr"]) / float(group["lr_ratio"])
        set_learning_rate(run.optimizer, self._rate)

    def end_epoch(self, run: TrainingRun) -> None:
        if run.epoch < self._start_epoch(run):
            return
        weights = {name: parameter.detach() for name, parameter in run.model.named_parameters()}
        if not _alike(self._mean, weights):
            self._mean, self._averaged = {name: torch.zeros_like(value) for name, value in weights.items()}, 0
        self._averaged += 1
        include(self._mean, weights, number=self._averaged)

    def evaluated(self, run: TrainingRun, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if not self._averaged:
            return values
        if not tracking(run.model):
            return {**values, **self._mean}
        with holding(run.model, self._mean):
            return {**values, **self._mean, **refreshed(run.model, some_images(run))}

    def state_dict(self) -> dict[str, Untyped]:
        return {"mean": self._mean, "averaged": self._averaged, "rate": self._rate}

    def load_state_dict(self, run: TrainingRun, state: Mapping[str, Untyped]) -> None:
        self._mean = {name: value.to(run.device, copy=True) for name, value in state["mean"].items()}
        self._averaged, self._rate = state["averaged"], state["rate"]

    def _start_epoch(self, run: TrainingRun) -> int:
        return switching_epoch(self.start, run.epochs, name=self.name)


def include(mean: Mapping[str, Tensor], weights: Mapping[str, Tensor], *, number: int) -> None:
    """mean ← mean + (weights − mean) / number, in place: of `number` weights, these are the last."""
    with torch.no_grad():
        for name, value in mean.items():
            value.add_(weights[name] - value, alpha=1 / number)


def _alike(some: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> bool:
    return some.keys() == others.keys() and all(some[name].shape == others[name].shape for name in some)
