"""One epoch of training."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.meters.meters import Meters
from tune_cnn.training.step.captured import CapturedSteps
from tune_cnn.training.step.hooks import StepHooks
from tune_cnn.training.step.optimizers import set_learning_rate
from tune_cnn.training.step.train_state import TrainState
from tune_cnn.training.step.train_step import train_step


@dataclass(frozen=True, kw_only=True)
class EpochSums:
    """What an epoch's steps add up to on this rank. The tensors are on the device, not yet waited for."""

    loss: Tensor  # cross-entropy alone, over images
    skipped_steps: Tensor
    images: int
    steps: int
    captured: int  # steps that were replayed
    last_batch: Batch | None


def train_steps(
    state: TrainState,
    batches: Iterable[Batch],
    meters: Meters,
    hooks: StepHooks,
    *,
    first_step: int,
    captured: CapturedSteps | None = None,
) -> EpochSums:
    """Train on every batch, by the captured steps where there are some of its shape. No step waits for the device."""
    state.model.train()
    state.loss_sum.zero_()
    state.skipped_steps.zero_()
    images = steps = replayed = 0
    batch = None
    for batch in meters.watch(batches):
        batch = hooks.batch(batch)
        set_learning_rate(state.optimizer, state.learning_rate(first_step + steps))
        if captured is not None and captured.replay(batch):
            replayed += 1
        else:
            train_step(state, hooks, batch)
        hooks.after_step()
        steps += 1
        images += len(batch.labels_n)
        meters.step(len(batch.labels_n))
    return EpochSums(
        loss=state.loss_sum,
        skipped_steps=state.skipped_steps,
        images=images,
        steps=steps,
        captured=replayed,
        last_batch=batch,
    )
