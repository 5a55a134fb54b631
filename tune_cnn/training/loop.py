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
from tune_cnn.training.step.train_state import Learner
from tune_cnn.training.strategies.framework.applied import AppliedStrategies


@dataclass(frozen=True, kw_only=True)
class EpochSums:
    """What an epoch's steps add up to on this rank. The tensors are on the device, not yet waited for."""

    loss: Tensor  # cross-entropy alone, over images
    skipped_steps: Tensor
    images: int
    last_batch: Batch | None


def train_steps(
    learner: Learner, batches: Iterable[Batch], meters: Meters, strategies: AppliedStrategies, *, first_step: int
) -> EpochSums:
    """Train on every batch. No step waits for the device."""
    model, optimiser, scaler, device = learner.model.train(), learner.optimiser, learner.scaler, learner.device
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    skipped = torch.zeros((), dtype=torch.int64, device=device)
    images, batch = 0, None
    for step, batch in enumerate(meters.watch(batches), first_step):
        images_nchw, labels_n = batch = strategies.batch(batch)
        set_learning_rate(optimiser, learner.learning_rate(step))
        optimiser.zero_grad(set_to_none=True)
        with learner.precision.autocast(device):
            logits = model(images_nchw)
        loss = F.cross_entropy(logits.float(), labels_n, label_smoothing=learner.label_smoothing)
        scaler.scale(strategies.penalised(loss)).backward()
        if learner.gradient_clip > 0 or strategies.see_gradients:
            scaler.unscale_(optimiser)
        strategies.after_backward()
        if learner.gradient_clip > 0:
            nn.utils.clip_grad_norm_(model.parameters(), learner.gradient_clip)
        skipped += step_scaled(scaler, optimiser)
        strategies.after_step()
        loss_sum += loss.detach() * len(labels_n)
        images += len(labels_n)
        meters.step(len(labels_n))
    return EpochSums(loss=loss_sum, skipped_steps=skipped, images=images, last_batch=batch)


def step_scaled(scaler: torch.amp.GradScaler, optimiser: Optimizer) -> Tensor | int:
    """One optimiser step, and whether loss scaling skipped it: then, and only then, the scale falls."""
    if not scaler.is_enabled():
        optimiser.step()
        return 0
    scale = scaler._get_scale_async()  # get_scale() would wait for the device
    assert scale is not None, "scale() comes before step_scaled()"
    before = scale.clone()  # update() writes in place
    scaler.step(optimiser)
    scaler.update()
    return scale < before
