"""One epoch of training."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.meters.meters import Meters
from tune_cnn.training.step.optimizers import set_learning_rate
from tune_cnn.training.step.train_state import TrainState
from tune_cnn.training.strategies.framework.applied import AppliedStrategies


@dataclass(frozen=True, kw_only=True)
class EpochSums:
    """What an epoch's steps add up to on this rank. The tensors are on the device, not yet waited for."""

    loss: Tensor  # cross-entropy alone, over images
    skipped_steps: Tensor
    images: int
    last_batch: Batch | None


def train_steps(
    train_state: TrainState, batches: Iterable[Batch], meters: Meters, strategies: AppliedStrategies, *, first_step: int
) -> EpochSums:
    """Train on every batch. No step waits for the device."""
    model, optimizer, scaler, device = (
        train_state.model.train(),
        train_state.optimizer,
        train_state.scaler,
        train_state.device,
    )
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    skipped = torch.zeros((), dtype=torch.int64, device=device)
    images, batch = 0, None
    for step, batch in enumerate(meters.watch(batches), first_step):
        images_nchw, labels_n = batch = strategies.batch(batch)
        set_learning_rate(optimizer, train_state.learning_rate(step))
        optimizer.zero_grad(set_to_none=True)
        with train_state.precision.autocast(device):
            logits = model(images_nchw)
        loss = F.cross_entropy(logits.float(), labels_n, label_smoothing=train_state.label_smoothing)
        scaler.scale(strategies.penalised(loss)).backward()
        if train_state.gradient_clip > 0 or strategies.see_gradients:
            scaler.unscale_(optimizer)
        strategies.after_backward()
        if train_state.gradient_clip > 0:
            nn.utils.clip_grad_norm_(model.parameters(), train_state.gradient_clip)
        skipped += step_scaled(scaler, optimizer)
        strategies.after_step()
        loss_sum += loss.detach() * len(labels_n)
        images += len(labels_n)
        meters.step(len(labels_n))
    return EpochSums(loss=loss_sum, skipped_steps=skipped, images=images, last_batch=batch)


def step_scaled(scaler: torch.amp.GradScaler, optimizer: Optimizer) -> Tensor | int:
    """One optimizer step, and whether loss scaling skipped it: then, and only then, the scale falls."""
    if not scaler.is_enabled():
        optimizer.step()
        return 0
    scale = scaler._get_scale_async()  # get_scale() would wait for the device
    assert scale is not None, "scale() comes before step_scaled()"
    before = scale.clone()  # update() writes in place
    scaler.step(optimizer)
    scaler.update()
    return scale < before
