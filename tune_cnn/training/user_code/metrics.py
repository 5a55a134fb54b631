"""The user's own metrics: measured on rank 0 after each epoch, then known to all ranks."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import nn

from tune_cnn.errors import TrialError
from tune_cnn.spec.calls import find_call
from tune_cnn.training.process.faults import trial_faults
from tune_cnn.training.step.context import TrialContext
from tune_cnn.training.step.evaluation import evaluation_loader
from tune_cnn.untyped import Untyped


def find_metrics(context: TrialContext) -> dict[str, Callable[..., Untyped]]:
    calls = {name: metric.call for name, metric in context.job.metrics.items() if metric.call is not None}
    return {name: find_call(call, where=f"metrics.{name}.call") for name, call in calls.items()}


def measure_metrics(
    calls: Mapping[str, Callable[..., Untyped]], model: nn.Module, context: TrialContext
) -> dict[str, float]:
    """call(model, loader) for each, the model in evaluation mode and the trial's precision, without gradients.

    The loader yields (images_nchw, labels_n) of the whole validation split, normalised, on the model's device. A call
    that needs gradients finds them under `torch.enable_grad()`. TrialError on all ranks where a call raises or gives
    no number.
    """
    values: dict[str, float] = {}
    fault: TrialError | None = None
    if context.group.rank == 0:
        try:
            for name, call in calls.items():
                values[name] = _measure(name, call, model, context)
        except TrialError as error:
            fault = error
    if context.group.ranks > 1 and calls:
        values, reason = context.group.share((values, fault and str(fault)))
        if reason and fault is None:
            fault = TrialError(reason)
    if fault is not None:
        raise fault
    return values


def _measure(name: str, call: Callable[..., Untyped], model: nn.Module, context: TrialContext) -> float:
    loader = evaluation_loader(context, context.images.validation, whole=True)
    with trial_faults(f"metrics.{name}"), torch.no_grad(), context.precision.autocast(context.device):
        value = call(model.eval(), loader)
    return number(value, f"metrics.{name}")


def number(value: Untyped, what: str) -> float:
    """A plain number of what the user's code gave: Python's, NumPy's, or a tensor of one element; never NaN."""
    try:
        if isinstance(value, bool | str | bytes):
            raise TypeError
        plain = float(value)
    except (TypeError, ValueError, RuntimeError):
        raise TrialError(f"{what}: must be a number, got {type(value).__name__} {str(value)[:60]!r}") from None
    if not math.isfinite(plain):
        raise TrialError(f"{what}: must be a finite number, got {plain}")
    return plain
