"""Mean and deviation per channel, from exact integer sums: equal on every machine, in any order of reading."""

import math
from dataclasses import dataclass

import numpy as np

from tune_cnn.training.data.readers import Int64, Uint8

CHUNK_PIXELS = 2**22  # an int64 copy of so many stays within 32 MiB


@dataclass(frozen=True, kw_only=True)
class ChannelSums:
    """Sums over pixels in 0..255; add them up with `+`."""

    pixels: int
    sums: tuple[int, ...]
    squares: tuple[int, ...]

    def __add__(self, other: "ChannelSums") -> "ChannelSums":
        return ChannelSums(
            pixels=self.pixels + other.pixels,
            sums=tuple(a + b for a, b in zip(self.sums, other.sums, strict=True)),
            squares=tuple(a + b for a, b in zip(self.squares, other.squares, strict=True)),
        )

    def mean_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Of pixels in [0, 1]. A constant channel has no deviation to divide by: its std is given as 1."""
        mean = tuple(s / self.pixels / 255 for s in self.sums)
        # n Σx² - (Σx)² in whole numbers: no cancellation.
        spread = (max(0, self.pixels * q - s * s) for s, q in zip(self.sums, self.squares, strict=True))
        std = tuple(math.sqrt(v) / self.pixels / 255 for v in spread)
        return mean, tuple(s or 1.0 for s in std)


def image_sums(images_nchw: Uint8) -> Int64:
    """Of each image and channel, the sum and the sum of squares: images × channels × 2."""
    sums_nc2 = np.zeros((*images_nchw.shape[:2], 2), np.int64)
    for at, image_chw in enumerate(images_nchw):
        flat = image_chw.reshape(len(image_chw), -1).astype(np.uint32)
        sums_nc2[at, :, 0], sums_nc2[at, :, 1] = flat.sum(axis=1), np.square(flat).sum(axis=1)
    return sums_nc2


def joined_sums(sums_nc2: Int64, pixels: int) -> ChannelSums:
    """Of images of so many pixels each, from what `image_sums` gives of them."""
    total_c2 = sums_nc2.sum(axis=0)
    return ChannelSums(
        pixels=pixels * len(sums_nc2),
        sums=tuple(total_c2[:, 0].tolist()),
        squares=tuple(total_c2[:, 1].tolist()),
    )


def channel_sums(images_nchw: Uint8) -> ChannelSums:
    """Of images in memory, or mapped."""
    channels = images_nchw.shape[1]
    values = np.arange(256, dtype=np.int64)
    counts = np.zeros((channels, 256), dtype=np.int64)
    step = max(1, CHUNK_PIXELS // max(1, math.prod(images_nchw.shape[1:])))
    for start in range(0, len(images_nchw), step):
        chunk = images_nchw[start : start + step]
        for channel in range(channels):
            counts[channel] += np.bincount(chunk[:, channel].ravel(), minlength=256)
    return ChannelSums(
        pixels=int(counts[0].sum()),
        sums=tuple(int(v) for v in counts @ values),
        squares=tuple(int(v) for v in counts @ values**2),
    )


def split_sums(images_nchw: Uint8, indices: Int64) -> ChannelSums:
    """Of these rows of a mapped array, chunk by chunk."""
    step = max(1, CHUNK_PIXELS // max(1, math.prod(images_nchw.shape[1:])))
    total: ChannelSums | None = None
    for start in range(0, len(indices), step):
        part = channel_sums(images_nchw[indices[start : start + step]])
        total = part if total is None else total + part
    assert total is not None, "a split is never empty"
    return total
