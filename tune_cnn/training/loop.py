"""One epoch of training."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.meters.meters import Meters
from tune_cnn.training.step.captured import CapturedSteps
from tune_cnn.training.step.hooks import StepHooks
from tune_cnn.training.step.optimizers.groups import set_learning_rate
from tune_cnn.training.step.train_state import TrainState
from tune_cnn.training.step.train_step import train_step


@dataclass(kw_only=True)
class EpochSums:
    """What an epoch's steps so far add up to on this rank. The tensors are on the device, not yet waited for."""

    loss: Tensor  # the loss without penalties, over images
    skipped_steps: Tensor
    images: int = 0
    steps: int = 0
    captured: int = 0  # steps that were replayed
    last_batch: Batch | None = None
    left: bool = False  # before the epoch's end


def new_sums(state: TrainState) -> EpochSums:
    """Of an epoch that begins; its tensors are those to which the steps of this state add."""
    return EpochSums(loss=state.loss_sum.zero_(), skipped_steps=state.skipped_steps.zero_())


def train_steps(
    state: TrainState,
    batches: Iterable[Batch],
    meters: Meters,
    hooks: StepHooks,
    sums: EpochSums,
    *,
    first_step: int,
    captured: CapturedSteps | None = None,
    leave: Callable[[], bool] | None = None,
) -> None:
    """Train on every batch, by the captured steps where there are some of its shape. No step waits for the device.

    sums: of the steps of this epoch that were taken before; `first_step`: of the epoch, over the horizon.
    leave: asked after each step, when `sums` tell of it.
    """
    state.model.train()
    for batch in meters.watch(batches):
        batch = hooks.batch(batch)
        set_learning_rate(state.optimizer, state.learning_rate(first_step + sums.steps))
        if captured is not None and captured.replay(batch):
            sums.captured += 1
        else:
            train_step(state, hooks, batch)
        hooks.after_step()
        sums.steps += 1
        sums.images += len(batch.labels_n)
        sums.last_batch = batch
        meters.step(len(batch.labels_n))
        if leave is not None and leave():
            sums.left = True
            return
