"""What images pretrained weights were made with: their size, and the mean and spread that they were normalised by."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PretrainedImages:
    mean: tuple[float, ...]  # per channel, of pixels in [0, 1]
    std: tuple[float, ...]
    image_size: tuple[int, int]  # height, width

    def of_channels(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std for another number of channels: their means for grey images, else each in turn."""
        return _fitted(self.mean, channels), _fitted(self.std, channels)


def _fitted(values: Sequence[float], channels: int) -> tuple[float, ...]:
    if channels == 1:
        return (sum(values) / len(values),)
    return tuple(values[channel % len(values)] for channel in range(channels))
