"""Growing batches (Smith, Kindermans, Ying, Le, 2017, https://arxiv.org/abs/1711.00489)."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from tune_cnn.errors import SpecError, StrategyError
from tune_cnn.spec import Choice, Configuration, Range, StudySpec
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.step.schedules import learning_rate_factor
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import TrainingRun
from tune_cnn.training.strategies.net2net import Net2Net

STEPS = 1000  # of an epoch, to ask the schedule: it knows shares of the horizon alone
SAMPLED = 8  # batches that the noise scale is estimated from: as many steps' work at each epoch's start


class BatchGrowth(Strategy):
    """Let the batch grow where the schedule would lower the learning rate.

    Smith, Kindermans, Ying, Le, "Don't Decay the Learning Rate, Increase the Batch Size", 2017,
    https://arxiv.org/abs/1711.00489. The noise of SGD goes with rate/batch, so a rate that falls to a tenth and a batch
    ten times as large are the same to it, and larger batches take fewer steps. From the schedule's peak on the batch is
    the first one divided by the schedule's share of the peak, in whole multiples of it, and the rate is the schedule's
    times that multiple; beyond `most` the rate falls. For AdamW, whose rate goes with the batch's root, the batch grows
    by the square.

    `by: noise` sets the batch to the gradient noise scale tr(Σ)/|G|² instead (McCandlish et al., 2018,
    https://arxiv.org/abs/1812.06162), estimated at each epoch's start from the gradients of eight batches, which takes
    as long as eight steps. It never shrinks, and at most doubles from an epoch to the next. Bound `most` by the memory:
    nothing else does.
    """

    name = "batch_growth"
    paper = "Smith, Kindermans, Ying & Le, 2017, https://arxiv.org/abs/1711.00489"
    saves = Saves.TIME
    sites = frozenset({Site.BATCH})
    knobs: ClassVar[Mapping[str, Knob]] = {
        "by": Knob(
            allowed=Choice(values=("schedule", "noise")),
            default="schedule",
            meaning="what decides: where the schedule falls, or the gradient noise scale",
        ),
        "most": Knob(allowed=Range(low=2, high=256), default=8, meaning="largest batch, by the first one"),
    }
    forbids: ClassVar[Mapping[str, str]] = {
        "prunetrain": "both let the batch grow",
        "minibatch_order": "minibatch_order leaves out whole mini-batches, of which a growing batch leaves too few",
        "regime_adaptation": "regime_adaptation lays out the epochs for a batch that stays",
    }

    by: str
    most: int

    @classmethod
    def check(cls, spec: StudySpec, data: DataFacts) -> None:
        schedules = spec.dimension("schedule").ends
        if "plateau" in schedules and spec.dimension(f"strategies.{cls.name}.by").holds("schedule"):
            raise SpecError(
                "space.schedule: batch_growth follows a schedule that is known beforehand, got plateau; leave it out, "
                "or use strategies.batch_growth.by: noise"
            )

    def prepare(self, run: TrainingRun) -> None:
        batch, images = run.configuration.batch_size, len(run.train_images)
        if 2 * batch > images:
            raise StrategyError(
                f"batch_growth: twice the batch of {batch} is more than the {images} training images; lower batch_size"
            )
        if self.by == "schedule" and max(self._multiples(run)) < 2:
            raise StrategyError(
                f"batch_growth: the schedule {run.configuration.schedule} never halves the rate at the start of one of "
                f"{run.epochs} epochs, so the batch would stay; use another schedule, more epochs, or by: noise"
            )

    def start_epoch(self, run: TrainingRun, epoch: int) -> None:
        batch = run.configuration.batch_size
        if self.by == "schedule":
            multiple = self._multiples(run)[epoch]
        elif epoch == 0:
            return
        else:
            found, now = gradients(run), run.batch_size // batch
            scale = run.group.share(noise_scale(found, run.batch_size) if len(found) > 1 else 0.0)
            multiple = min(max(now, int(min(scale / batch, self.most))), 2 * now, self.most)
        multiple = min(multiple, len(run.train_images) // batch)
        grower = run.strategies.get(Net2Net.name)
        grown = grower is not None and epoch >= grower.growth_epoch(run.epochs)
        ratio = multiple ** _power(run.configuration) * (grower.lr_factor if grower is not None and grown else 1.0)
        if (multiple * batch, ratio) != (run.batch_size, run.learning_rate_ratio):
            run.resize_batch(multiple * batch, learning_rate_ratio=ratio)

    def resume_epoch(self, run: TrainingRun, epoch: int) -> None:
        """The batch and the rate are the run's."""

    def _multiples(self, run: TrainingRun) -> list[int]:
        factors = epoch_factors(run.configuration)
        return multiples(factors, power=_power(run.configuration), most=self.most)


def _power(configuration: Configuration) -> float:
    """Of the batch, with which the rate goes."""
    return 0.5 if configuration.optimizer == "adamw" else 1.0


def epoch_factors(configuration: Configuration) -> list[float]:
    """The schedule's share of the peak rate at the start of each epoch."""
    horizon = configuration.horizon
    return [
        learning_rate_factor(
            configuration.schedule,
            epoch * STEPS,
            steps_per_epoch=STEPS,
            epochs=horizon,
            warmup_epochs=configuration.warmup_epochs * horizon / configuration.epochs,
            ends=(configuration.lr_start, configuration.lr_end),
        )
        for epoch in range(horizon)
    ]


def multiples(factors: Sequence[float], *, power: float, most: int) -> list[int]:
    """How many times the first batch each epoch has: 1 while the rate rises, then what makes up for its fall."""
    peak = max(range(len(factors)), key=lambda epoch: factors[epoch])
    found = [1] * len(factors)
    for epoch in range(peak + 1, len(factors)):
        wanted = (1 / max(factors[epoch], 1e-9)) ** (1 / power)
        found[epoch] = max(found[epoch - 1], int(min(wanted + 1e-6, most)))
    return found


def gradients(run: TrainingRun) -> list[Tensor]:
    """Of the loss that steps learn from, over batches of training images, drawn and mixed as theirs and not augmented
    otherwise; each as one vector, without those that no step would take, as they aren't finite. The model is left as it
    was."""
    model, size, images = run.model, run.batch_size, len(run.train_images)
    count = max(2, min(SAMPLED, images // size))
    drawn_n = run.epoch_order()
    buffers = [buffer.clone() for buffer in model.buffers()]
    model.train()
    found = []
    for start in range(0, count * size, size):
        batch = run.plain_batch(drawn_n[np.arange(start, start + size) % images])
        images_nchw, labels_n = run.mixed(batch, start)
        model.zero_grad(set_to_none=True)
        with run.autocast():
            logits = model(images_nchw)
        run.backward_from(run.loss_of(logits, labels_n))
        gradient = torch.cat([p.grad.flatten().float() for p in model.parameters() if p.grad is not None])
        found += [gradient] if bool(gradient.isfinite().all()) else []
        run.count_pass(images_nchw, backward=True)
    model.zero_grad(set_to_none=True)
    with torch.no_grad():
        for buffer, former in zip(model.buffers(), buffers, strict=True):
            buffer.copy_(former)
    return found


def noise_scale(gradients_of_batches: Sequence[Tensor], batch_size: int) -> float:
    """tr(Σ)/|G|² in images, numerator and denominator without a bias (appendix A.1 of the paper)."""
    stacked = torch.stack(list(gradients_of_batches)).double()
    small, large = batch_size, batch_size * len(stacked)
    of_small, of_large = stacked.square().sum(1).mean(), stacked.mean(0).square().sum()
    squared = (large * of_large - small * of_small) / (large - small)
    trace = (of_small - of_large) / (1 / small - 1 / large)
    return float(trace / squared) if squared > 0 else float("inf")
