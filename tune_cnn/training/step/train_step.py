"""One step of training."""

import torch
from torch import nn
from torch.optim import Optimizer

from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.step.hooks import StepHooks
from tune_cnn.training.step.train_state import TrainState


def train_step(state: TrainState, hooks: StepHooks, batch: Batch) -> None:
    """Learn from a batch, and add to the sums of the epoch. The learning rate is the optimizer's.

    All that it does is the device's work on the same tensors each time, so it never waits for the device, and can be
    captured.
    """
    optimizer, scaler = state.optimizer, state.scaler
    images_nchw, labels_n = batch
    optimizer.zero_grad(set_to_none=True)
    with state.precision.autocast(state.device):
        logits = state.model(images_nchw)
    if hooks.see_losses:
        losses_n = state.loss_of(logits, labels_n, reduction="none")
        loss, told = hooks.joined(losses_n), losses_n.detach().mean()
    else:
        loss = told = state.loss_of(logits, labels_n)
    scaler.scale(hooks.penalised(loss)).backward()
    if state.gradient_clip > 0 or hooks.see_gradients:
        scaler.unscale_(optimizer)
    hooks.after_backward()
    if state.gradient_clip > 0:
        learning = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        nn.utils.clip_grad_norm_(learning, state.gradient_clip)
    step_scaled(scaler, optimizer, state.skipped_steps)
    state.loss_sum.add_(told.detach(), alpha=len(labels_n))


def step_scaled(scaler: torch.amp.GradScaler, optimizer: Optimizer, skipped_steps: torch.Tensor) -> None:
    """One optimizer step; counts it where loss scaling skipped it: then, and only then, the scale falls."""
    if not scaler.is_enabled():
        optimizer.step()
        return
    scale = scaler._get_scale_async()  # get_scale() would wait for the device
    assert scale is not None, "scale() comes before step_scaled()"
    before = scale.clone()  # update() writes in place
    scaler.step(optimizer)
    scaler.update()
    skipped_steps.add_(scale < before)
