"""NVML's functions as pynvml has them, of cards that a test declares; what a card lacks raises as the real one does."""
# ruff: noqa: N802  (the functions have the names that NVML gave them)

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

MIB = 2**20


@dataclass
class FakeCard:
    """A card, or a MIG slice; also its own handle."""

    uuid: str = "GPU-a"
    name: str = "NVIDIA A100-SXM4-40GB"
    used_mib: float = 3.0
    processes: dict[int, float | None] = field(default_factory=dict)
    display: bool = False
    mode: int = pynvml.NVML_COMPUTEMODE_DEFAULT
    power_w: float | None = 400.0
    slices: list["FakeCard"] = field(default_factory=list)
    util_pct: float | None = 50.0
    energy_j: float | None = 1000.0
    sm_active_pct: float | None = None  # None: no GPM
    can_be_cut: bool = True
    xids: list[int] | None = field(default_factory=list)  # that the driver will tell of; None: it tells of none
    lost_bits: int | None = 0  # uncorrected ECC errors; None: no ECC


@dataclass
class FakeNvml:
    cards: list[FakeCard]
    driver: str = "580.65.06"
    cuda: int = 13000
    opened: int = 0  # how often it was started and not ended

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in dir(self):
            if name.startswith("nvml"):
                monkeypatch.setattr(pynvml, name, getattr(self, name))

    def nvmlInit(self) -> None:
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.opened -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeCard:
        return self.cards[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> FakeCard:
        found = [card for card in self.cards if card.uuid == uuid]
        return found[0] if found else fail(pynvml.NVML_ERROR_NOT_FOUND)

    def nvmlDeviceGetUUID(self, card: FakeCard) -> str:
        return card.uuid

    def nvmlDeviceGetName(self, card: FakeCard) -> str:
        return card.name

    def nvmlDeviceGetMemoryInfo(self, card: FakeCard, version: int | None = None) -> Any:
        return SimpleNamespace(used=card.used_mib * MIB)

    def nvmlDeviceGetComputeRunningProcesses(self, card: FakeCard) -> list[Any]:
        return [
            SimpleNamespace(pid=pid, usedGpuMemory=None if mib is None else mib * MIB)
            for pid, mib in card.processes.items()
        ]

    def nvmlDeviceGetGraphicsRunningProcesses(self, card: FakeCard) -> list[Any]:
        return []

    def nvmlDeviceGetDisplayActive(self, card: FakeCard) -> int:
        return int(card.display)

    def nvmlDeviceGetComputeMode(self, card: FakeCard) -> int:
        return card.mode

    def nvmlDeviceGetPowerManagementLimit(self, card: FakeCard) -> float:
        return card.power_w * 1000 if card.power_w is not None else fail()

    def nvmlDeviceGetMigMode(self, card: FakeCard) -> list[int]:
        return [int(bool(card.slices))] * 2 if card.can_be_cut else fail()

    def nvmlDeviceGetMaxMigDeviceCount(self, card: FakeCard) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: FakeCard, place: int) -> FakeCard:
        return card.slices[place] if place < len(card.slices) else fail(pynvml.NVML_ERROR_NOT_FOUND)

    def nvmlSystemGetDriverVersion(self) -> str:
        return self.driver

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        return self.cuda

    def nvmlDeviceGetUtilizationRates(self, card: FakeCard) -> Any:
        return SimpleNamespace(gpu=card.util_pct) if card.util_pct is not None else fail()

    def nvmlDeviceGetTotalEnergyConsumption(self, card: FakeCard) -> float:
        return card.energy_j * 1e3 if card.energy_j is not None else fail()

    def nvmlEventSetCreate(self) -> list[FakeCard]:
        return []

    def nvmlDeviceRegisterEvents(self, card: FakeCard, types: int, events: list[FakeCard]) -> None:
        events.append(card) if card.xids is not None else fail()

    def nvmlEventSetWait_v2(self, events: list[FakeCard], timeout_ms: int) -> Any:
        (card,) = events
        return SimpleNamespace(eventData=card.xids.pop(0)) if card.xids else fail(pynvml.NVML_ERROR_TIMEOUT)

    def nvmlDeviceGetTotalEccErrors(self, card: FakeCard, kind: int, since: int) -> int:
        return card.lost_bits if card.lost_bits is not None else fail()

    def nvmlGpmQueryDeviceSupport(self, card: FakeCard) -> Any:
        return SimpleNamespace(isSupportedDevice=int(card.sm_active_pct is not None))

    def nvmlGpmSampleAlloc(self) -> Any:
        return pynvml.c_nvmlGpmSample_t()

    def nvmlGpmSampleFree(self, sample: Any) -> None:
        pass

    def nvmlGpmSampleGet(self, card: FakeCard, sample: Any) -> None:
        self._sampled = card

    def nvmlGpmMetricsGet(self, asked: Any) -> Any:
        asked.metrics[0].nvmlReturn = pynvml.NVML_SUCCESS
        asked.metrics[0].value = self._sampled.sm_active_pct
        return asked


def fail(code: int = pynvml.NVML_ERROR_NOT_SUPPORTED) -> Any:
    raise pynvml.NVMLError(code)
