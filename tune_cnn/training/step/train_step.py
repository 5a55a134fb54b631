"""One step of training."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.step.hooks import StepHooks
from tune_cnn.training.step.micro_batches import micro_batches
from tune_cnn.training.step.optimizers.sam import sharpened
from tune_cnn.training.step.train_state import TrainState


def train_step(state: TrainState, hooks: StepHooks, batch: Batch) -> None:
    """Learn from a batch, and add to the sums of the epoch. The learning rate is the optimizer's.

    All that it does is the device's work on the same tensors each time, so it never waits for the device, and can be
    captured.
    """
    optimizer, scaler = state.optimizer, state.scaler
    optimizer.zero_grad(set_to_none=True)
    told = forward_and_back(state, hooks, batch)
    if state.sam_rho > 0:
        with sharpened(state.model, optimizer, rho=state.sam_rho):
            optimizer.zero_grad(set_to_none=True)
            forward_and_back(state, hooks, batch)
    if state.gradient_clip > 0 or hooks.see_gradients:
        scaler.unscale_(optimizer)
    hooks.after_backward()
    if state.gradient_clip > 0:
        learning = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        nn.utils.clip_grad_norm_(learning, state.gradient_clip)
    step_scaled(scaler, optimizer, state.skipped_steps)
    state.loss_sum.add_(told.detach(), alpha=len(batch.labels_n))


def forward_and_back(state: TrainState, hooks: StepHooks, batch: Batch) -> Tensor:
    """The batch's mean loss without penalties; its gradients, scaled, are added to the parameters'."""
    if state.accumulate == 1:
        loss, told = _losses(state, hooks, batch)
        state.scaler.scale(hooks.penalised(loss)).backward()
        return told
    parts = micro_batches(batch, state.accumulate, least=state.least_images)
    sums: list[Tensor] = []
    for number, part in enumerate(parts, start=1):
        share = len(part.labels_n) / len(batch.labels_n)
        with nullcontext() if number == len(parts) else _alone(state.model):
            loss, told = _losses(state, hooks, part)
            state.scaler.scale(hooks.penalised(loss) * share).backward()
        sums.append(told.detach() * share)
    return torch.stack(sums).sum()


def _losses(state: TrainState, hooks: StepHooks, batch: Batch) -> tuple[Tensor, Tensor]:
    """What is learned from, and the mean loss that is told."""
    images_nchw, labels_n = batch
    with state.precision.autocast(state.device):
        logits = state.model(images_nchw)
    if hooks.see_losses:
        losses_n = state.loss_of(logits, labels_n, reduction="none")
        return hooks.joined(losses_n), losses_n.detach().mean()
    loss = state.loss_of(logits, labels_n)
    return loss, loss


def _alone(model: nn.Module) -> AbstractContextManager[None]:
    """Within it gradients stay on their rank: they are joined with those of the step's last micro-batch."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


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
