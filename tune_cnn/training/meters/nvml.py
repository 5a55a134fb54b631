"""The NVML calls of one whole device, in this project's units; None where the device or driver can't answer."""

import logging
import time
from collections.abc import Callable
from typing import Self, TypeVar

import pynvml

from tune_cnn.untyped import Untyped

_log = logging.getLogger(__name__)
R = TypeVar("R")

GPM_SHORTEST_S = 0.1  # NVIDIA's advice for the distance of two GPM samples
UTILISATION, ENERGY, SM_ACTIVITY = "utilisation", "energy", "SM activity"
METRICS = {"gpu_util_pct": UTILISATION, "sm_active_pct": SM_ACTIVITY, "gpu_energy_j": ENERGY}


class NoReadings(Exception):
    """NVML tells nothing of the device; the message says why."""


class Nvml:
    """One device, found by UUID: its index differs from CUDA's wherever CUDA_VISIBLE_DEVICES is set."""

    def __init__(self, handle: object) -> None:
        self._handle = handle
        self._said: dict[str, str] = {}  # what it has not, and why
        self._gpm_samples: list[Untyped] = []
        self._gpm_ready = False  # whether the first of them holds a reading

    @classmethod
    def open(cls, uuid: str) -> Self | None:
        """The device with this UUID (with or without "GPU-"), or None where NVML tells nothing of it. Starts NVML,
        which `close` ends."""
        try:
            return cls.opened(uuid)
        except NoReadings as error:
            _log.warning("no utilisation and energy of the GPU: %s", error)
            return None

    @classmethod
    def opened(cls, uuid: str) -> Self:
        """The same; NoReadings without NVML or for a slice of a device (MIG), whose share of the counters NVML does
        not tell."""
        if uuid.startswith("MIG-"):
            raise NoReadings("it is a MIG slice, and NVML counts whole GPUs")
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise NoReadings(f"NVML can't be started: {error}") from None
        try:
            handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid.removeprefix('GPU-')}")
            sliced = _sliced(handle)
        except pynvml.NVMLError as error:
            pynvml.nvmlShutdown()
            raise NoReadings(f"NVML knows no device GPU-{uuid.removeprefix('GPU-')}: {error}") from None
        if sliced:
            pynvml.nvmlShutdown()
            raise NoReadings("it is cut into MIG slices, and NVML counts whole GPUs")
        return cls(handle)

    def gpu_util_pct(self) -> float | None:
        """Share of the driver's last window (1/6 to 1 s, by device) in which a kernel ran."""
        return self._ask(UTILISATION, lambda: float(pynvml.nvmlDeviceGetUtilizationRates(self._handle).gpu))

    def total_energy_j(self) -> float | None:
        """Energy since the driver was loaded (Volta and newer); the driver renews it every 20 to 100 ms."""
        return self._ask(ENERGY, lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) / 1e3)

    def start_sm_window(self) -> bool:
        """Begin a window of SM activity (GPM: Hopper and newer); False where there is none."""
        self._gpm_ready = bool(self._ask(SM_ACTIVITY, self._take_first_gpm_sample))
        return self._gpm_ready

    def sm_active_pct(self) -> float | None:
        """Mean share of SMs with a warp resident since the window began (at least 0.1 s ago); begins the next one."""
        return self._ask(SM_ACTIVITY, self._compare_gpm_samples) if self._gpm_ready else None

    def lacking(self) -> dict[str, str]:
        """The metrics that this device can't give, each with the reason; takes a window of SM activity's time."""
        self.gpu_util_pct()
        self.total_energy_j()
        if self.start_sm_window():
            time.sleep(GPM_SHORTEST_S)
            self.sm_active_pct()
        return {metric: self._said[what] for metric, what in METRICS.items() if what in self._said}

    def close(self) -> None:
        for sample in self._gpm_samples:
            pynvml.nvmlGpmSampleFree(sample)
        self._gpm_samples = []
        self._gpm_ready = False
        pynvml.nvmlShutdown()

    def _take_first_gpm_sample(self) -> bool:
        if not self._gpm_samples:
            if not pynvml.nvmlGpmQueryDeviceSupport(self._handle).isSupportedDevice:
                self._said[SM_ACTIVITY] = "it needs a Hopper GPU or newer"
                return False
            self._gpm_samples = [pynvml.nvmlGpmSampleAlloc(), pynvml.nvmlGpmSampleAlloc()]
        pynvml.nvmlGpmSampleGet(self._handle, self._gpm_samples[0])
        return True

    def _compare_gpm_samples(self) -> float:
        before, after = self._gpm_samples
        pynvml.nvmlGpmSampleGet(self._handle, after)
        self._gpm_samples = [after, before]
        asked = pynvml.c_nvmlGpmMetricsGet_t()
        asked.version = pynvml.NVML_GPM_METRICS_GET_VERSION
        asked.numMetrics = 1
        asked.sample1, asked.sample2 = before, after
        asked.metrics[0].metricId = pynvml.NVML_GPM_METRIC_SM_UTIL  # SM_OCCUPANCY is the share of warps
        answer = pynvml.nvmlGpmMetricsGet(asked).metrics[0]
        if answer.nvmlReturn != pynvml.NVML_SUCCESS:
            raise pynvml.NVMLError(answer.nvmlReturn)
        return float(answer.value)

    def _ask(self, what: str, call: Callable[[], R]) -> R | None:
        try:
            return call()
        except pynvml.NVMLError as error:
            if what not in self._said:
                self._said[what] = str(error)
                _log.warning("no %s of the GPU: %s", what, error)
            return None


def lacking(uuid: str) -> dict[str, str]:
    """The metrics that NVML can't give of the whole device with this UUID, each with the reason."""
    try:
        device = Nvml.opened(uuid)
    except NoReadings as error:
        return dict.fromkeys(METRICS, str(error))
    try:
        return device.lacking()
    finally:
        device.close()


def _sliced(handle: object) -> bool:
    try:
        current, _ = pynvml.nvmlDeviceGetMigMode(handle)
    except pynvml.NVMLError_NotSupported:  # a device that can't be cut
        return False
    return bool(current == pynvml.NVML_DEVICE_MIG_ENABLE)
