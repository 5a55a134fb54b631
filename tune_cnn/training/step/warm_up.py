"""First compile and device warm-up, on a copy that is thrown away."""

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from tune_cnn.training.step.context import TrialContext

PASSES = 3  # cuDNN picks its algorithm in the first; torch.compile may compile the second anew; the third is as usual


def needs_warm_up(context: TrialContext) -> bool:
    """Where there is something to compile or a device to wake; a CPU's first step is like any other."""
    return context.job.configuration.compile or context.device.type == "cuda"


def warm_up(model: nn.Module, context: TrialContext, batch_sizes: Sequence[int]) -> None:
    """Train a copy of `model` a few passes on noise, in every size of batch that will come.

    The model itself is not touched; torch's generators are moved on, so seed them afterwards. Compiled code is found
    again by the real model, being the same class with the same shapes. No rank waits for another here.
    """
    device, facts = context.device, context.images.facts
    layout = torch.channels_last if context.job.configuration.channels_last else torch.contiguous_format
    throw_away = copy.deepcopy(model).train()
    compiled_model = compiled(throw_away, context)
    scaler = context.precision.scaler(device)
    for batch_size in batch_sizes:
        for _ in range(PASSES):
            images_nchw = torch.randn(batch_size, *facts.image_shape, device=device).contiguous(memory_format=layout)
            labels_n = torch.randint(facts.num_classes, (batch_size,), device=device)
            throw_away.zero_grad(set_to_none=True)
            with context.precision.autocast(device):
                logits = compiled_model(images_nchw)
            loss = F.cross_entropy(logits.float(), labels_n, label_smoothing=context.job.configuration.label_smoothing)
            scaler.scale(loss).backward()
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def compiled(model: nn.Module, context: TrialContext) -> nn.Module:
    """The model as a training step calls it, before any data-parallel wrapping.

    Each size of batch gets code of its own (`dynamic=False`): there are two at most, and both are known beforehand.
    """
    if not context.job.configuration.compile:
        return model
    made = torch.compile(model, dynamic=False)
    assert isinstance(made, nn.Module), "a module compiled is a module; torch's stub says a callable"
    return made
