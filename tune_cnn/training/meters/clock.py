"""Training time on the device's own terms: its queue is empty at both ends of a stretch."""

from collections.abc import Mapping

import torch

from tune_cnn.training.meters.meter import Meter
from tune_cnn.untyped import Untyped


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all it was asked; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class TrainClock(Meter):
    """train_time_s: seconds within stretches, over the whole trial (ranks: the largest).

    step_time_ms: training time of the epoch over its steps (ranks: the largest); images_per_s: this rank's images over
    the same time (ranks: the sum). Both tell of the last epoch that took a step, and are absent before the first.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.train_time_s = 0.0
        self._entered_s: float | None = None
        self.epoch()

    def epoch(self) -> None:
        self._epoch_time_s = 0.0
        self._epoch_steps = 0
        self._epoch_images = 0

    def step(self, images: int) -> None:
        self._epoch_steps += 1
        self._epoch_images += images

    @property
    def running(self) -> bool:
        return self._entered_s is not None

    def enter(self, now_s: float) -> None:
        self._entered_s = now_s

    def leave(self, now_s: float) -> None:
        assert self._entered_s is not None
        stretch_s = now_s - self._entered_s
        self._entered_s = None
        self.train_time_s += stretch_s
        self._epoch_time_s += stretch_s

    def read(self) -> dict[str, float]:
        metrics = {"train_time_s": self.train_time_s}
        if self._epoch_steps and self._epoch_time_s > 0:
            metrics["step_time_ms"] = 1e3 * self._epoch_time_s / self._epoch_steps
            metrics["images_per_s"] = self._epoch_images / self._epoch_time_s
        return metrics

    def state_dict(self) -> dict[str, float]:
        return {
            "train_time_s": self.train_time_s,
            "epoch_time_s": self._epoch_time_s,
            "epoch_steps": float(self._epoch_steps),
            "epoch_images": float(self._epoch_images),
        }

    def load_state_dict(self, state: Mapping[str, Untyped]) -> None:
        self.train_time_s = state["train_time_s"]
        self._epoch_time_s = state["epoch_time_s"]
        self._epoch_steps = int(state["epoch_steps"])
        self._epoch_images = int(state["epoch_images"])
