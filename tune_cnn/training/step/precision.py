"""Numeric precisions: which arithmetic a step runs in, and where the hardware has it."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Compute capability from which a CUDA device has the arithmetic in hardware: half-precision tensor cores came with
# Volta (7.0; fp16 itself is older but gains nothing there), TF32 and bfloat16 with Ampere (8.0).
SINCE = {"fp32": (0, 0), "fp16": (7, 0), "tf32": (8, 0), "bf16": (8, 0)}
ON_CPU = frozenset({"fp32", "bf16"})


@dataclass(frozen=True, kw_only=True)
class Precision:
    """How a step computes. Weights, gradients and optimizer state are float32 in all of them.

    TF32 differs from fp32 by global switches alone, which `global_state` sets.
    """

    name: str
    autocast_dtype: torch.dtype | None = None
    scales_loss: bool = False  # fp16's small gradients would become zero, its large ones infinite

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        if self.autocast_dtype is None:
            return nullcontext()
        return torch.autocast(device.type, dtype=self.autocast_dtype)

    def scaler(self, device: torch.device) -> torch.amp.GradScaler:
        """Dynamic loss scaling; one that passes everything through where the precision needs none."""
        return torch.amp.GradScaler(device.type, enabled=self.scales_loss)


def backward_unscaled(scaler: torch.amp.GradScaler, loss: Tensor, parameters: Iterable[nn.Parameter]) -> None:
    """Gradients of this loss for parameters that have none: backward by the scale, as half precision would lose small
    ones, and then without it. Where it is too large, as before a step that is left out, they aren't finite."""
    scaler.scale(loss).backward()
    if scaler.is_enabled():
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        torch._foreach_div_(gradients, scaler.get_scale())


PRECISIONS = {
    "fp32": Precision(name="fp32"),
    "tf32": Precision(name="tf32"),
    "bf16": Precision(name="bf16", autocast_dtype=torch.bfloat16),
    "fp16": Precision(name="fp16", autocast_dtype=torch.float16, scales_loss=True),
}


def supported_precisions(cuda: bool, capability: tuple[int, int] | None = None) -> frozenset[str]:
    """What can be trained in on the CPU, or on a CUDA device of that compute capability (default: the current one)."""
    if not cuda:
        return ON_CPU
    capability = capability if capability is not None else torch.cuda.get_device_capability()
    return frozenset(name for name, since in SINCE.items() if capability >= since)
