"""Whole GPUs and their power limits at NVML, which counts milliwatts."""

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pynvml

from tune_cnn.errors import ResourceError
from tune_cnn.training.meters.cards import cards, visible
from tune_cnn.untyped import Untyped

KEY = "resources.power_limit_w"
LEAVE_OUT = "leave power_limit_w out"


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU of this node, while NVML is open."""

    uuid: str
    handle: Untyped

    @property
    def limit_mw(self) -> int:
        return int(pynvml.nvmlDeviceGetPowerManagementLimit(self.handle))

    @property
    def range_mw(self) -> tuple[int, int]:
        low, high = pynvml.nvmlDeviceGetPowerManagementLimitConstraints(self.handle)
        return int(low), int(high)

    def limit(self, mw: int) -> None:
        pynvml.nvmlDeviceSetPowerManagementLimit(self.handle, mw)

    def __str__(self) -> str:
        return f"{self.uuid} on node {platform.node()}"


@contextmanager
def nvml_open() -> Iterator[None]:
    """NVML, which counts its users; raises NVMLError."""
    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


def by_uuid(uuid: str) -> Gpu:
    """The GPU with this UUID, with or without "GPU-"; raises NVMLError."""
    name = f"GPU-{uuid.removeprefix('GPU-')}"
    return Gpu(uuid=name, handle=pynvml.nvmlDeviceGetHandleByUUID(name))


def visible_gpus() -> list[Gpu]:
    """The GPUs that this node gives to searches: all, or those that CUDA_VISIBLE_DEVICES names.

    ResourceError where a slice is among them, or there are none; raises NVMLError.
    """
    found = visible(cards(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    for card in found:
        if card.is_cut or card.uuid.startswith("MIG-"):
            raise ResourceError(
                f"{KEY}: {card.uuid} on node {platform.node()} is cut into slices (MIG) or one of them, and only a "
                f"whole GPU has a limit; {LEAVE_OUT}"
            )
    if not found:
        raise ResourceError(
            f"{KEY}: NVML shows no GPU on node {platform.node()} that trials may use; look at what nvidia-smi says and "
            f"at CUDA_VISIBLE_DEVICES, or {LEAVE_OUT}"
        )
    return [by_uuid(card.uuid) for card in found]


def check_limitable(gpu: Gpu, phases: Sequence[float]) -> None:
    """ResourceError where the GPU can't be held at one of these limits, in watts; NVMLError where NVML fails."""
    try:
        low_mw, high_mw = gpu.range_mw
    except pynvml.NVMLError_NotSupported:
        raise ResourceError(f"{KEY}: {gpu} has no power limit to set; {LEAVE_OUT}") from None
    for watts in phases:
        if not low_mw <= milliwatts(watts) <= high_mw:
            raise ResourceError(
                f"{KEY}: must lie within {low_mw / 1000:g} to {high_mw / 1000:g} W for {gpu}, got {watts:g}; change "
                f"it, or {LEAVE_OUT}"
            )


def why_refused(error: pynvml.NVMLError) -> str:
    """What NVML has refused on this node, for the user."""
    node = platform.node()
    if isinstance(error, pynvml.NVMLError_NoPermission):
        return (
            f"{KEY}: this user may not change power limits on node {node}; search as root there, in a container with "
            f"--cap-add=SYS_ADMIN, or {LEAVE_OUT}"
        )
    return f"{KEY}: power limits can't be changed on node {node} (NVML: {error}); mend its driver, or {LEAVE_OUT}"


def milliwatts(watts: float) -> int:
    return round(watts * 1000)
