"""A trial's model: built from the study's factory, and wrapped as a training step calls it."""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tune_cnn.training.models.registry import build_model
from tune_cnn.training.step.checkpointing import Checkpointed
from tune_cnn.training.step.context import TrialContext
from tune_cnn.untyped import Plain


def built_model(context: TrialContext, arguments: Mapping[str, Plain] | None = None) -> nn.Module:
    """The study's model, on the device, in the trial's memory format; with the trial's arguments or with others."""
    job, facts = context.job, context.images.facts
    model = build_model(
        job.model.name,
        num_classes=facts.num_classes,
        in_channels=facts.in_channels,
        image_size=facts.image_size,
        weights=job.model.weights,
        arguments=job.configuration.model if arguments is None else arguments,
    )
    return laid_out(model.to(context.device), context)


def laid_out(model: nn.Module, context: TrialContext) -> nn.Module:
    """Its weights in the trial's memory format, in place."""
    if not context.job.configuration.channels_last:
        return model
    return model.to(memory_format=torch.channels_last)


def compiled(model: nn.Module, context: TrialContext) -> nn.Module:
    """The model as a training step calls it, before any data-parallel wrapping.

    Each size of batch gets code of its own (`dynamic=False`): there are two at most, and both are known beforehand.
    """
    if not context.job.configuration.compile:
        return model
    made = torch.compile(model, dynamic=False)
    assert isinstance(made, nn.Module), "a module compiled is a module; torch's stub says a callable"
    return made


def wrapped(model: nn.Module, context: TrialContext, *, some_unused: bool) -> nn.Module:
    """Compiled and data-parallel, where asked for. `some_unused`: some parameters get no gradient."""
    again = context.job.configuration.activation_checkpointing
    group, module = context.group, compiled(Checkpointed(model) if again else model, context)
    if group.ranks == 1:
        return module
    group.agree("data-parallel training")
    # DDP averages gradients over ranks, whose shares of a batch are equal: the mean over the global batch.
    return DistributedDataParallel(
        module,
        device_ids=[context.device] if context.device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        find_unused_parameters=some_unused,
        broadcast_buffers=False,  # no step reads them; `evaluate` shares rank 0's
    )
