"""Utilisation, SM activity and energy of a GPU that one trial has to itself, within stretches of training."""

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from tune_cnn.training.meters.meter import Meter, TimeMean
from tune_cnn.training.meters.nvml import GPM_SHORTEST_S

GPM_LONGEST_S = 5.0  # a window is closed by then, so one failed reading costs little


class GpuReadings(Protocol):
    """What these meters ask of a device (`nvml.Nvml`); None where it can't answer."""

    def gpu_util_pct(self) -> float | None: ...
    def total_energy_j(self) -> float | None: ...
    def start_sm_window(self) -> bool: ...
    def sm_active_pct(self) -> float | None: ...


class GpuUtil(Meter):
    """gpu_util_pct: share of time with a kernel running, over the whole trial (ranks: the mean).

    NVML's reading tells of the driver's last window (1/6 to 1 s). Each reading stands for the time since the one
    before, so a stretch shorter than that window tells of what came before it as well.
    """

    def __init__(self, readings: GpuReadings) -> None:
        self._readings = readings
        self.begin()

    def begin(self) -> None:
        self._mean = TimeMean()

    def enter(self, now_s: float) -> None:
        self._since_s = now_s

    def sample(self, now_s: float) -> None:
        value = self._readings.gpu_util_pct()
        if value is not None:
            self._mean.add(value, now_s - self._since_s)
        self._since_s = now_s

    def leave(self, now_s: float) -> None:
        self.sample(now_s)

    def read(self) -> dict[str, float]:
        return {} if self._mean.mean is None else {"gpu_util_pct": self._mean.mean}

    def state_dict(self) -> dict[str, float]:
        return {"gpu_util_weighted": self._mean.weighted, "gpu_util_seconds": self._mean.seconds}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self._mean.weighted = state.get("gpu_util_weighted", 0.0)
        self._mean.seconds = state.get("gpu_util_seconds", 0.0)


class SmActive(Meter):
    """sm_active_pct: share of SMs with a warp resident, averaged by the hardware over each window and over windows by
    the training in them, over the whole trial (ranks: the mean). Hopper and newer.

    The hardware needs `GPM_SHORTEST_S` for a window. A trial whose stretches are all shorter is measured in windows
    that span stretches, with the evaluation and the pauses between them; once it has a window of training alone, such
    ones count alone and shorter ends of stretches are left out.
    """

    def __init__(
        self,
        readings: GpuReadings,
        *,
        clock: Callable[[], float] = time.perf_counter,
        rest: Callable[[float], None] = time.sleep,
    ) -> None:
        self._readings, self._clock, self._rest = readings, clock, rest
        self.begin()

    def begin(self) -> None:
        self._pure, self._spanning = TimeMean(), TimeMean()
        self._is_carried = False  # the window is open since an earlier stretch

    def enter(self, now_s: float) -> None:
        self._entered_s = now_s
        if self._is_carried and self._pure.mean is None:
            return
        self._is_carried = False
        self._since_s, self._trained_s = now_s, 0.0
        self._open = self._readings.start_sm_window()

    def sample(self, now_s: float) -> None:
        if now_s - self._since_s >= GPM_LONGEST_S:
            self._train_until(now_s)
            self._close_window(now_s)

    def leave(self, now_s: float) -> None:
        self._train_until(now_s)
        if now_s - self._since_s >= GPM_SHORTEST_S:
            self._close_window(now_s)
        else:
            self._is_carried = self._open

    def _train_until(self, now_s: float) -> None:
        self._trained_s += now_s - max(self._entered_s, self._since_s)

    def _close_window(self, now_s: float) -> None:
        value = self._readings.sm_active_pct() if self._open else None
        if value is not None:
            (self._spanning if self._is_carried else self._pure).add(value, self._trained_s)
        self._since_s, self._trained_s, self._is_carried = now_s, 0.0, False

    def read(self) -> dict[str, float]:
        if self._is_carried and self._pure.mean is None and self._spanning.mean is None:
            # After the very first epoch there must be a value: an objective that is absent ends its trial.
            self._rest(max(0.0, self._since_s + GPM_SHORTEST_S - self._clock()))
            self._close_window(self._clock())
        mean = self._spanning.mean if self._pure.mean is None else self._pure.mean
        return {} if mean is None else {"sm_active_pct": mean}

    def state_dict(self) -> dict[str, float]:
        return {
            "sm_active_weighted": self._pure.weighted,
            "sm_active_seconds": self._pure.seconds,
            "sm_active_spanning_weighted": self._spanning.weighted,
            "sm_active_spanning_seconds": self._spanning.seconds,
        }

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        for name, mean in (("sm_active", self._pure), ("sm_active_spanning", self._spanning)):
            mean.weighted = state.get(f"{name}_weighted", 0.0)
            mean.seconds = state.get(f"{name}_seconds", 0.0)


class GpuEnergy(Meter):
    """gpu_energy_j: energy of the whole device (memory and idle power too) within stretches, over the whole trial
    (ranks: the sum). The counter moves every 20 to 100 ms, so a stretch is off by up to that time's energy.

    A part of the trial without a reading makes the sum too small, so from then on the metric is absent.
    """

    def __init__(self, readings: GpuReadings) -> None:
        self._readings = readings
        self.begin()

    def begin(self) -> None:
        self._energy_j: float | None = 0.0
        self._stretches = 0

    def enter(self, now_s: float) -> None:
        self._before_j = self._readings.total_energy_j()

    def leave(self, now_s: float) -> None:
        after_j = self._readings.total_energy_j()
        if self._energy_j is None or self._before_j is None or after_j is None or after_j < self._before_j:
            self._energy_j = None  # a counter that runs backwards: the driver was loaded anew
        else:
            self._energy_j += after_j - self._before_j
        self._stretches += 1

    def read(self) -> dict[str, float]:
        return {} if self._energy_j is None or not self._stretches else {"gpu_energy_j": self._energy_j}

    def state_dict(self) -> dict[str, float]:
        return self.read()

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self._energy_j = state.get("gpu_energy_j", 0.0 if not state["train_time_s"] else None)
        self._stretches = int(bool(state["train_time_s"]))


class GpuSeconds(Meter):
    """gpu_seconds: the share of a device times the seconds of training on it (ranks: the sum).

    After a restart on another share, what was spent before stays as it was priced then.
    """

    def __init__(self, gpu_share: float) -> None:
        self._gpu_share = gpu_share
        self.begin()

    def begin(self) -> None:
        self._gpu_seconds = 0.0

    def enter(self, now_s: float) -> None:
        self._entered_s = now_s

    def leave(self, now_s: float) -> None:
        self._gpu_seconds += self._gpu_share * (now_s - self._entered_s)

    def read(self) -> dict[str, float]:
        return {"gpu_seconds": self._gpu_seconds}

    def state_dict(self) -> dict[str, float]:
        return self.read()

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self._gpu_seconds = state.get("gpu_seconds", 0.0)
