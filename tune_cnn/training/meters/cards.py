"""The GPUs of a node as NVML knows them, asked without a context on any of them; nothing where NVML can't answer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import pynvml

from tune_cnn.untyped import Untyped

R = TypeVar("R")
MIB = 2**20

DEFAULT, EXCLUSIVE, PROHIBITED = "default", "exclusive", "prohibited"
_MODES = {
    pynvml.NVML_COMPUTEMODE_EXCLUSIVE_THREAD: EXCLUSIVE,
    pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS: EXCLUSIVE,
    pynvml.NVML_COMPUTEMODE_PROHIBITED: PROHIBITED,
}


@dataclass(frozen=True, kw_only=True)
class Card:
    """One GPU, or one MIG slice of it."""

    uuid: str  # GPU-… or MIG-…
    name: str
    used_mib: float | None = None  # by everybody, without what the driver keeps back
    processes_mib: Mapping[int, float | None] = field(default_factory=dict)  # by process, where it can be told
    shows_display: bool = False
    compute_mode: str = DEFAULT
    power_limit_w: float | None = None
    is_cut: bool = False  # into MIG slices
    slices: "tuple[Card, ...]" = ()


@dataclass(frozen=True, kw_only=True)
class Driver:
    """NVIDIA's driver; None where it doesn't say."""

    version: str | None = None
    cuda: str | None = None  # the newest CUDA that it runs


@contextmanager
def _nvml() -> Iterator[bool]:
    """Whether NVML answers, within it."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield False
        return
    try:
        yield True
    finally:
        pynvml.nvmlShutdown()


def cards() -> tuple[Card, ...]:
    """All GPUs of this node in NVML's order, whatever this process may see of them."""
    with _nvml() as answers:
        count = _told(pynvml.nvmlDeviceGetCount) if answers else 0
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(count or 0)]
        found = [_told(_card, handle) for handle in handles]
    return tuple(card for card in found if card is not None)


def driver() -> Driver:
    with _nvml() as answers:
        if not answers:
            return Driver()
        cuda = _told(pynvml.nvmlSystemGetCudaDriverVersion_v2)
        return Driver(
            version=_told(pynvml.nvmlSystemGetDriverVersion),
            cuda=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None,
        )


def visible(found: Sequence[Card], names: str | None) -> list[Card]:
    """Those that CUDA_VISIBLE_DEVICES names (by number, or by the beginning of a UUID); all where it is not set."""
    if names is None:
        return list(found)
    chosen: list[Card] = []
    for name in (one.strip() for one in names.split(",")):
        fitting = [found[int(name)]] if name.isdigit() and int(name) < len(found) else []
        if name.startswith(("GPU-", "MIG-")):
            every = [one for card in found for one in (card, *card.slices)]
            fitting = [one for one in every if one.uuid.startswith(name)]
        if len(fitting) != 1:
            break  # as CUDA does: what stands behind a name that fits nothing is not seen
        chosen += fitting
    return chosen


def _card(handle: Untyped) -> Card:
    is_cut = (_told(pynvml.nvmlDeviceGetMigMode, handle) or [0])[0] == pynvml.NVML_DEVICE_MIG_ENABLE
    limit_mw = _told(pynvml.nvmlDeviceGetPowerManagementLimit, handle)
    return Card(
        uuid=pynvml.nvmlDeviceGetUUID(handle),
        name=pynvml.nvmlDeviceGetName(handle),
        used_mib=_used_mib(handle),
        processes_mib=_processes_mib(handle),
        shows_display=bool(_told(pynvml.nvmlDeviceGetDisplayActive, handle)),
        compute_mode=_MODES.get(_told(pynvml.nvmlDeviceGetComputeMode, handle), DEFAULT),
        power_limit_w=limit_mw / 1e3 if limit_mw else None,
        is_cut=is_cut,
        slices=tuple(_slices(handle)) if is_cut else (),
    )


def _slices(handle: Untyped) -> list[Card]:
    most = _told(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0
    found = [_told(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, place) for place in range(most)]
    return [_slice(one) for one in found if one is not None]  # a place may be empty


def _slice(handle: Untyped) -> Card:
    return Card(
        uuid=pynvml.nvmlDeviceGetUUID(handle),
        name=pynvml.nvmlDeviceGetName(handle),
        used_mib=_used_mib(handle),
        processes_mib=_processes_mib(handle),
    )


def _used_mib(handle: Untyped) -> float | None:
    memory = _told(pynvml.nvmlDeviceGetMemoryInfo, handle, version=pynvml.nvmlMemory_v2)
    memory = memory or _told(pynvml.nvmlDeviceGetMemoryInfo, handle)  # an old driver counts its own part too
    return memory.used / MIB if memory is not None else None


def _processes_mib(handle: Untyped) -> dict[int, float | None]:
    asked = (pynvml.nvmlDeviceGetComputeRunningProcesses, pynvml.nvmlDeviceGetGraphicsRunningProcesses)
    listed = [process for ask in asked for process in _told(ask, handle) or []]
    return {one.pid: one.usedGpuMemory / MIB if one.usedGpuMemory is not None else None for one in listed}


def _told(ask: Callable[..., R], *args: Untyped, **kwargs: Untyped) -> R | None:
    """What NVML answers; None where this device or driver doesn't."""
    try:
        return ask(*args, **kwargs)
    except pynvml.NVMLError:
        return None
