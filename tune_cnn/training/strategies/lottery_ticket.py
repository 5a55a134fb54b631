"""Lottery tickets (Frankle & Carbin, 2018, https://arxiv.org/abs/1803.03635): prune, rewind, train again."""

import logging
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from tune_cnn.errors import SpecError, StrategyError
from tune_cnn.spec import StudySpec
from tune_cnn.spec.configuration import LOTTERY_LEVELS
from tune_cnn.spec.dimensions import Range
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import TrainingRun
from tune_cnn.training.strategies.framework.values import put_values
from tune_cnn.untyped import Untyped

_log = logging.getLogger(__name__)

WITH_WEIGHTS = (nn.Conv2d, nn.Linear)


class LotteryTicket(Strategy):
    """Train, prune the smallest weights, set the others back to their start, and train again, level by level.

    Frankle & Carbin, "The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural Networks", 2018,
    https://arxiv.org/abs/1803.03635; iterative pruning with rewinding to the very start. After each of the first
    `levels` trainings, `share` of the weights of convolutions and linear layers that are left are pruned, those that
    are least in absolute value over the whole net; all else, running statistics and momentum too, is as at the start,
    and the schedule begins anew. Pruned weights stay zero.

    It costs (levels + 1) trainings of `epochs` each, and all of them are time of the trial. What it saves would take
    hardware that skips zeros: `simulated_parameters` counts the weights that are left. early_bird and prunetrain cut
    whole channels instead, within one training.
    """

    name = "lottery_ticket"
    paper = "Frankle & Carbin, 2018, https://arxiv.org/abs/1803.03635"
    saves = Saves.SIMULATED
    # All that is planned over the horizon, or remembers weights, would go across the trainings.
    sites = frozenset(
        {Site.SHAPE, Site.RESOLUTION, Site.SAMPLES, Site.BATCH, Site.LEARNING, Site.AVERAGING, Site.HORIZON}
    )
    capturable = True
    knobs: ClassVar[Mapping[str, Knob]] = {
        "levels": Knob(allowed=Range(low=1, high=30), default=LOTTERY_LEVELS, meaning="times to prune and train again"),
        "share": Knob(
            allowed=Range(low=0.01, high=0.95), default=0.2, meaning="of the weights that are left, pruned each time"
        ),
    }
    forbids: ClassVar[Mapping[str, str]] = {
        "ssf": "ssf makes weights of a frozen structure and a strength, which have no zeros of their own",
        "isgd": "isgd steps again by itself, and would move weights that are pruned",
        "weight_norm": "weight_norm keeps weights as lengths and directions, which have no zeros of their own",
        "whitening": "whitening sets its filters once, and lottery_ticket begins several trainings",
    }
    levels: int
    share: float

    def __init__(self, **knobs: object) -> None:
        super().__init__(**knobs)
        self._start: dict[str, Tensor] = {}  # the model's state before the first step
        self._masks: dict[str, Tensor] = {}  # of each weight: 1 where it is left, else 0

    @classmethod
    def check(cls, spec: StudySpec, data: DataFacts) -> None:
        levels, epochs = spec.dimension(f"strategies.{cls.name}.levels").largest, spec.dimension("epochs").largest
        needed = (levels + 1) * epochs
        if spec.budget.epochs is not None and needed > spec.budget.epochs:
            raise SpecError(
                f"space.strategies.{cls.name}.levels: {levels} take {levels + 1} trainings of {epochs} epochs, "
                f"{needed} in all, but budget.epochs is {spec.budget.epochs}; lower levels or epochs, or raise the "
                "budget"
            )

    def prepare(self, run: TrainingRun) -> None:
        weights = prunable(run.model)
        if not weights:
            raise StrategyError(
                f"{self.name}: the model has no weights of kind Conv2d or Linear that learn; leave it out of the space"
            )
        if int(self.share * sum(weight.numel() for weight in weights.values())) == 0:
            raise StrategyError(f"{self.name}: share={self.share} of the model's weights is not one of them; raise it")
        self._masks = {name: torch.ones_like(weight) for name, weight in weights.items()}

    def start_epoch(self, run: TrainingRun, epoch: int) -> None:
        if epoch == 0:
            self._start = {name: value.clone() for name, value in run.model.state_dict().items()}
        elif epoch % run.configuration.epochs_of_training == 0:
            prune(prunable(run.model), self._masks, self.share)
            self._rewind(run)
            left = int(sum(mask.sum() for mask in self._masks.values()))
            _log.info("lottery_ticket: %s weights are left; training begins anew", f"{left:,}")

    def resume_epoch(self, run: TrainingRun, epoch: int) -> None:
        """Masks and start are in the state."""

    def after_backward(self, run: TrainingRun) -> None:
        """A pruned weight's gradient and momentum are zero, and so it stays."""
        for name, mask in self._masks.items():
            gradient = run.model.get_parameter(name).grad
            if gradient is not None:
                gradient.mul_(mask)

    def metrics(self, run: TrainingRun) -> Mapping[str, float]:
        all_of_them = sum(parameter.numel() for parameter in run.model.parameters())
        pruned = sum(float(mask.numel() - mask.sum()) for mask in self._masks.values())
        return {"simulated_parameters": all_of_them - pruned}

    def state_dict(self) -> dict[str, Untyped]:
        return {"start": self._start, "masks": self._masks}

    def load_state_dict(self, run: TrainingRun, state: Mapping[str, Untyped]) -> None:
        self._start = {name: value.to(run.device, copy=True) for name, value in state["start"].items()}
        for name, mask in state["masks"].items():
            self._masks[name].copy_(mask)

    def _rewind(self, run: TrainingRun) -> None:
        """In place: what has recorded a step goes on with these tensors."""
        put_values(run.model, self._start)
        with torch.no_grad():
            for name, mask in self._masks.items():
                run.model.get_parameter(name).mul_(mask)
            remembered: Mapping[Untyped, Mapping[str, Untyped]] = run.optimizer.state
            for values in remembered.values():
                for value in values.values():
                    value.zero_()


def prunable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of convolutions and linear layers that learn, by name."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, WITH_WEIGHTS)}
    return {
        f"{name}.weight".lstrip("."): weight
        for name, layer in layers.items()
        if isinstance(weight := layer.weight, nn.Parameter) and weight.requires_grad
    }


def prune(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], share: float) -> None:
    """Zero, in the masks, that share of the weights that are left: the least in absolute value, over all of them."""
    with torch.no_grad():
        sizes = torch.cat([weights[name].detach().abs().flatten() for name in masks])
        left = torch.cat([mask.flatten() for mask in masks.values()]) > 0
        going = int(share * int(left.sum()))
        order = sizes.masked_fill(~left, torch.inf).argsort(stable=True)
        kept = left.float()
        kept[order[:going]] = 0
        for mask, part in zip(masks.values(), kept.split([mask.numel() for mask in masks.values()]), strict=True):
            mask.copy_(part.view_as(mask))
