"""Shift and mirror each image by its own amount, a whole batch in one gather; then normalise."""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from tune_cnn.training.data.kept_memory import KeptMemory
from tune_cnn.training.data.operations.drawn import Composed
from tune_cnn.training.data.operations.registry import BY_NAME
from tune_cnn.training.data.order import Augmentation
from tune_cnn.training.data.readers import Uint8

LARGE_BYTES = 2**24  # of a batch as float32: below, the allocator keeps its memory by itself (seen at 10 MB, not at 19)
CACHE_BYTES = 2**20  # what a core has at least by itself of cache, in servers


@dataclass(frozen=True, kw_only=True)
class AugmentationOnDevice:
    """An `Augmentation` where the images are: uploaded once for all the batches of an epoch."""

    dy_n: torch.Tensor | None
    dx_n: torch.Tensor | None
    flip_n: torch.Tensor | None
    mirror_fill: bool
    composed: Composed | None = None  # its numbers are made for each batch

    @classmethod
    def of(cls, augmentation: Augmentation, device: torch.device) -> "AugmentationOnDevice":
        values = (augmentation.dy_n, augmentation.dx_n, augmentation.flip_n)
        dy_n, dx_n, flip_n = (None if value is None else torch.from_numpy(value).to(device) for value in values)
        return cls(
            dy_n=dy_n, dx_n=dx_n, flip_n=flip_n, mirror_fill=augmentation.mirror_fill, composed=augmentation.composed
        )

    def __getitem__(self, where: slice) -> "AugmentationOnDevice":
        return AugmentationOnDevice(
            dy_n=None if self.dy_n is None else self.dy_n[where],
            dx_n=None if self.dx_n is None else self.dx_n[where],
            flip_n=None if self.flip_n is None else self.flip_n[where],
            mirror_fill=self.mirror_fill,
            composed=None if self.composed is None else self.composed[where],
        )


def augment_batch(images_nchw: torch.Tensor, augmentation: Augmentation | AugmentationOnDevice) -> torch.Tensor:
    """uint8 in, uint8 out, on the images' device.

    Shifted first, then mirrored, as torchvision's RandomCrop and RandomHorizontalFlip stand in its recipes.
    What a shift leaves empty is black (0 in uint8), as RandomCrop's padding is, or shows the image mirrored at its edge
    as `padding_mode="reflect"` does.
    """
    if augmentation.composed is not None:
        return _composed(images_nchw, augmentation, augmentation.composed)
    dy_n, dx_n, flip_n = augmentation.dy_n, augmentation.dx_n, augmentation.flip_n
    if dy_n is None and dx_n is None and flip_n is None:
        return images_nchw
    device = images_nchw.device
    count, channels, height, width = images_nchw.shape
    rows = torch.arange(height, device=device).expand(count, height)
    columns = torch.arange(width, device=device).expand(count, width)
    if flip_n is not None:
        columns = torch.where(_column(flip_n, device), columns.flip(1), columns)
    if dy_n is not None and dx_n is not None:
        rows, columns = rows - _column(dy_n, device), columns - _column(dx_n, device)
        if augmentation.mirror_fill:
            rows, columns = _mirrored(rows, height), _mirrored(columns, width)
        else:
            images_nchw = F.pad(images_nchw, (1, 1, 1, 1))  # all that lies outside is black: one pixel of it will do
            rows, columns = rows.clamp(-1, height) + 1, columns.clamp(-1, width) + 1
    each = torch.arange(count, device=device)[:, None, None, None]
    channel = torch.arange(channels, device=device)[None, :, None, None]
    return images_nchw[each, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _composed(
    images_nchw: torch.Tensor, augmentation: Augmentation | AugmentationOnDevice, composed: Composed
) -> torch.Tensor:
    """One operation after the other, shift and flip among them."""
    for name in composed.operations:
        if name in BY_NAME:
            images_nchw = BY_NAME[name](images_nchw, composed)
            continue
        alone = replace(augmentation, composed=None)
        if "crop" not in name:
            alone = replace(alone, dy_n=None, dx_n=None)
        if "flip" not in name:
            alone = replace(alone, flip_n=None)
        images_nchw = augment_batch(images_nchw, alone)
    return images_nchw


def _mirrored(places: torch.Tensor, size: int) -> torch.Tensor:
    """Places outside of 0 … size - 1, mirrored at the first and the last, which aren't repeated."""
    return (size - 1 - (size - 1 - places.abs()).abs()).clamp(0)


def augment_image(image_chw: Uint8, dy: int, dx: int, flip: bool, mirror_fill: bool = False) -> Uint8:
    """What `augment_batch` does, to one image: for loaders that work image by image. Always a copy."""
    _, height, width = image_chw.shape
    if mirror_fill:
        rows, columns = (_mirrored(torch.arange(size) - by, size).numpy() for size, by in ((height, dy), (width, dx)))
        return np.ascontiguousarray(image_chw[:, rows[:, None], columns[::-1] if flip else columns])
    out = np.zeros_like(image_chw)
    out[:, max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)] = image_chw[
        :, max(-dy, 0) : height - max(dy, 0), max(-dx, 0) : width - max(dx, 0)
    ]
    return np.ascontiguousarray(out[:, :, ::-1]) if flip else out


def _column(values_n: object, device: torch.device) -> torch.Tensor:
    return torch.as_tensor(values_n).to(device, non_blocking=True)[:, None]


class Normaliser:
    """(x / 255 - mean) / std per channel, on the device, in float32."""

    def __init__(
        self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device, channels_last: bool
    ) -> None:
        # One multiply and one add per pixel: x * scale + offset.
        scale = [1 / (255 * s) for s in std]
        offset = [-m / s for m, s in zip(mean, std, strict=True)]
        self.scale = torch.tensor(scale, device=device)[:, None, None]
        self.offset = torch.tensor(offset, device=device)[:, None, None]
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self._memory = KeptMemory()

    def __call__(self, images_nchw: torch.Tensor) -> torch.Tensor:
        if images_nchw.device.type != "cpu":
            return self.in_one_kernel(images_nchw)
        if 4 * images_nchw.numel() >= LARGE_BYTES:
            return self._large(images_nchw)
        images = images_nchw.to(dtype=torch.float32, memory_format=self.memory_format)
        return images.mul_(self.scale).add_(self.offset)

    def _large(self, images_nchw: torch.Tensor) -> torch.Tensor:
        """The same bits, into memory that is kept; so many images at a time as the processor's cache holds."""
        images = self._memory.empty(images_nchw.shape, self.memory_format)
        at_a_time = max(1, CACHE_BYTES // max(1, images[:1].nbytes))
        for given, made in zip(images_nchw.split(at_a_time), images.split(at_a_time), strict=True):
            made.copy_(given).mul_(self.scale).add_(self.offset)
        return images

    def in_one_kernel(self, images_nchw: torch.Tensor) -> torch.Tensor:
        """The same to the last bits, for a device on which starting a kernel costs more than its work on a batch."""
        memory_format = self.memory_format
        images = torch.empty(images_nchw.shape, device=images_nchw.device, memory_format=memory_format)
        return torch.addcmul(self.offset, images_nchw, self.scale, out=images)
