"""Learning-rate schedules: the share of the peak rate at each step of the horizon."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tune_cnn.spec import Configuration
from tune_cnn.spec.optimizers import SCHEDULE_FREE

ONE_CYCLE_START = 1 / 25  # the defaults of torch's OneCycleLR
ONE_CYCLE_END = ONE_CYCLE_START / 1e4
ONE_CYCLE_RISE = 0.3
TRIANGLE_ENDS = (0.2, 0.07)
DROP = 0.1


def scaled_learning_rate(configuration: Configuration) -> float:
    """The peak rate for the batch in use: `lr_rule` carries it there from `lr_base_batch` images.

    Under a steady gradient momentum, Nesterov's too, moves a weight 1 / (1 - momentum) times as far a step as the rate
    says; a `decoupled` rate is meant with that in it.
    """
    ratio = configuration.batch_size / configuration.lr_base_batch
    power = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}[configuration.lr_rule]
    rate = configuration.learning_rate * math.pow(ratio, power)
    return rate * (1 - configuration.momentum) if configuration.decoupled else rate


def factor_in_training(configuration: Configuration, step: int, *, steps_per_epoch: int) -> float:
    """The factor on the peak rate for `step` of the whole trial: each of its trainings has the schedule to itself."""
    epochs = configuration.epochs_of_training
    return learning_rate_factor(
        "constant" if configuration.optimizer in SCHEDULE_FREE else configuration.schedule,
        step % (steps_per_epoch * epochs),
        steps_per_epoch=steps_per_epoch,
        epochs=epochs,
        warmup_epochs=configuration.warmup_epochs * epochs / configuration.epochs,
        ends=(configuration.lr_start, configuration.lr_end),
    )


def learning_rate_factor(
    schedule: str,
    step: int,
    *,
    steps_per_epoch: int,
    epochs: int,
    warmup_epochs: float = 0.0,
    ends: tuple[float, float] = TRIANGLE_ENDS,
) -> float:
    """The factor on the peak rate for `step`, counted from 0 over the whole horizon of `epochs`.

    ends: of `triangle`, the factor of the first step and the one that it would have after the last.
    A warm-up longer than the horizon fills it. `constant` is that of schedule-free optimizers. `plateau` depends on
    the validation loss and so is 1 here: see Plateau.
    """
    total = steps_per_epoch * epochs
    rise = min(round(warmup_epochs * steps_per_epoch), total)
    if schedule == "one_cycle":
        return _one_cycle(step, total, rise if warmup_epochs > 0 else ONE_CYCLE_RISE * total)
    if schedule == "triangle":
        return _triangle(step, total, rise if warmup_epochs > 0 else int(ONE_CYCLE_RISE * total), ends)
    if step < rise:
        return (step + 1) / rise
    if schedule == "cosine":
        return _between(1.0, 0.0, (step - rise) / (total - rise))
    if schedule == "step":
        return DROP ** ((2 * step >= total) + (4 * step >= 3 * total))
    assert schedule in ("plateau", "constant"), schedule
    return 1.0


def _one_cycle(step: int, total: int, rise: float) -> float:
    """A cosine from a 25th of the peak up to it, then one down to almost nothing (torch's OneCycleLR)."""
    top, last = rise - 1, total - 1
    if step <= top:
        return _between(ONE_CYCLE_START, 1.0, step / top) if top > 0 else 1.0
    return _between(1.0, ONE_CYCLE_END, (step - top) / (last - top))


def _triangle(step: int, total: int, top: int, ends: tuple[float, float]) -> float:
    """Straight up to the peak at step `top`, and straight down."""
    start, end = ends
    if step < top:
        return start + (1 - start) * step / top
    return 1 + (end - 1) * (step - top) / (total - top)


def _between(start: float, end: float, share: float) -> float:
    """From start to end along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


@dataclass(kw_only=True)
class Plateau:
    """A tenth of the rate each time the validation loss has not fallen for `patience_epochs`."""

    patience_epochs: int
    factor: float = 1.0
    lowest: float = math.inf
    epochs_without: int = 0

    @classmethod
    def of(cls, configuration: Configuration) -> "Plateau | None":
        """Of a training that begins; None where another schedule is asked for."""
        return cls.over(configuration.epochs_of_training) if configuration.schedule == "plateau" else None

    @classmethod
    def over(cls, epochs: int) -> "Plateau":
        return cls(patience_epochs=max(1, epochs // 10))

    def observe(self, val_loss: float) -> None:
        """Take in an epoch's validation loss."""
        if val_loss < self.lowest:
            self.lowest, self.epochs_without = val_loss, 0
            return
        self.epochs_without += 1
        if self.epochs_without >= self.patience_epochs:
            self.factor, self.epochs_without = self.factor * DROP, 0

    def state_dict(self) -> dict[str, float]:
        return {"factor": self.factor, "lowest": self.lowest, "epochs_without": self.epochs_without}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.factor, self.lowest = state["factor"], state["lowest"]
        self.epochs_without = int(state["epochs_without"])
