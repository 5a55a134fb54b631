"""All meters of one rank, as the training loop uses them."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import TypeVar

import torch

from tune_cnn.training.meters.clock import TrainClock, synchronize
from tune_cnn.training.meters.cpu import CpuUtil
from tune_cnn.training.meters.data_wait import DataWait
from tune_cnn.training.meters.gpu import GpuEnergy, GpuSeconds, GpuUtil, SmActive
from tune_cnn.training.meters.memory import DeviceMemory, ResidentMemory
from tune_cnn.training.meters.meter import Meter
from tune_cnn.training.meters.nvml import Nvml
from tune_cnn.training.meters.processes import Family
from tune_cnn.training.meters.sampler import Sampler

T = TypeVar("T")


class Meters:
    """What training costs on this rank; `read` gives it by the names of `tune_cnn.metrics.METRICS`.

    gpu_share: of the device, for one rank. Below 1 the device is shared, and NVML, which counts a device, tells
    nothing of this trial: utilisation, SM activity and energy are absent then, as on hardware without them.
    """

    def __init__(self, device: torch.device, *, gpu_share: float) -> None:
        self._device = device
        self._clock = TrainClock()
        self._data_wait = DataWait()
        self._nvml: Nvml | None = None
        self._parts: list[Meter] = [self._clock, self._data_wait, *self._of_hardware(gpu_share)]
        self._sampler = Sampler(self._sample)

    def _of_hardware(self, gpu_share: float) -> list[Meter]:
        family = Family()
        parts: list[Meter] = [CpuUtil(family)]
        if self._device.type != "cuda":
            return [*parts, ResidentMemory(family)]
        parts += [DeviceMemory(self._device), GpuSeconds(gpu_share)]
        if gpu_share == 1:
            self._nvml = Nvml.open(str(torch.cuda.get_device_properties(self._device).uuid))
        if self._nvml is not None:
            parts += [GpuUtil(self._nvml), SmActive(self._nvml), GpuEnergy(self._nvml)]
        return parts

    def begin(self) -> None:
        """A trial starts: everything to zero. After `reset_global_state`, so that the device's cache is empty."""
        for part in self._parts:
            part.begin()

    @contextmanager
    def training(self) -> Iterator[None]:
        """A stretch of training steps: what lies outside (evaluation, checkpoints) is in no meter but peak memory.

        Each stretch waits for the device at both ends and reads the hardware (some ms, off the clock): an epoch, say,
        never a step.
        """
        assert not self._clock.running, "stretches don't nest"
        synchronize(self._device)
        self._enter()
        try:
            yield
            synchronize(self._device)
        finally:  # after an error too, without waiting for a device that may be the reason
            self._leave()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within a stretch: what is done here is no training. The device is waited for first."""
        synchronize(self._device)
        self._leave()
        try:
            yield
        finally:
            self._enter()

    def _enter(self) -> None:
        for part in self._parts:
            if part is not self._clock:
                part.enter(perf_counter())
        self._sampler.start()
        self._clock.enter(perf_counter())  # last in and first out: reading the others is no training

    def _leave(self) -> None:
        now_s = perf_counter()
        self._clock.leave(now_s)
        self._sampler.stop()
        for part in self._parts:
            if part is not self._clock:
                part.leave(now_s)

    def _sample(self) -> None:
        for part in self._parts:
            part.sample(perf_counter())

    def watch(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches, the time until each counted in data_wait_s. For training batches only."""
        return self._data_wait.watch(batches)

    def step(self, images: int) -> None:
        """One training step was taken, with so many images on this rank."""
        self._clock.step(images)

    def epoch(self) -> None:
        """An epoch begins: step_time_ms and images_per_s tell of it from here on."""
        self._clock.epoch()

    def read(self) -> dict[str, float]:
        """This rank's metrics so far, a stretch that still runs left out; what can't be measured here is absent."""
        return {name: value for part in self._parts for name, value in part.read().items()}

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint needs for the numbers to go on over a restart."""
        return {name: value for part in self._parts for name, value in part.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from a checkpoint's numbers, after `begin`."""
        for part in self._parts:
            part.load_state_dict(state)

    def close(self) -> None:
        """End NVML; nothing may be measured any more. A second call does nothing."""
        self._sampler.stop()
        if self._nvml is not None:
            self._nvml.close()
            self._nvml = None
        self._parts = [self._clock, self._data_wait]
