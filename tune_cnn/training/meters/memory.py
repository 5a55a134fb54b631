"""The most memory that a trial held: of the device's allocator, or of the processes where it trains on a CPU."""

from collections.abc import Mapping

import torch

from tune_cnn.training.meters.meter import Meter
from tune_cnn.training.meters.processes import Family

_MIB = 2**20


class DeviceMemory(Meter):
    """peak_memory_mib: the most that PyTorch's allocator had reserved on the device since the trial's start,
    evaluation included (ranks: the largest).

    Reserved and not allocated: the allocator's blocks with their gaps are what must fit. The CUDA context (some
    hundred MiB) and libraries' own buffers are not in it. The former trial's cache must be empty before `begin`, which
    `reset_global_state` sees to.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before_mib = 0.0

    def begin(self) -> None:
        self._before_mib = 0.0
        torch.cuda.reset_peak_memory_stats(self._device)

    def read(self) -> dict[str, float]:
        now_mib = torch.cuda.max_memory_reserved(self._device) / _MIB
        return {"peak_memory_mib": max(self._before_mib, now_mib)}

    def state_dict(self) -> dict[str, float]:
        return self.read()

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self._before_mib = state.get("peak_memory_mib", 0.0)


class ResidentMemory(Meter):
    """peak_memory_mib: the most resident memory seen of this process with what its loader workers hold for themselves
    (ranks: the largest).

    Seen: by samples within stretches, at their ends and on reading, so a short peak between samples is missed. It
    includes Python and PyTorch (some 300 MiB), what the C library keeps of what the trial has freed (`process.malloc`),
    and imports and caches of a warm process. Good for what fits, not for small differences.
    """

    def __init__(self, family: Family) -> None:
        self._family = family
        self._peak_bytes = 0.0

    def begin(self) -> None:
        self._peak_bytes = 0.0

    def enter(self, now_s: float) -> None:
        self._family.refresh_if_due()
        self._look()

    def sample(self, now_s: float) -> None:
        self._family.refresh_if_due()
        self._look()

    def leave(self, now_s: float) -> None:
        self._look()

    def read(self) -> dict[str, float]:
        self._look()
        return {"peak_memory_mib": self._peak_bytes / _MIB}

    def state_dict(self) -> dict[str, float]:
        return self.read()

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self._peak_bytes = max(self._peak_bytes, state.get("peak_memory_mib", 0.0) * _MIB)

    def _look(self) -> None:
        self._peak_bytes = max(self._peak_bytes, self._family.resident_bytes())
