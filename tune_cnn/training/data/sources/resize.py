"""Resize to a square as torchvision's v2.resize and v2.center_crop do, bilinear and antialiased.

Without torchvision itself: importing it takes as long as torch, and loader processes need nothing else of it.
"""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from tune_cnn.training.data.readers import Uint8

NARROW = 64  # times as long as wide: of more, only the middle is scaled before the middle of it is taken


def scaled_size(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width once the shorter is `side`."""
    shorter = min(height, width)
    return (side * height // shorter, side * width // shorter)


def crop_start(length: int, side: int) -> int:
    """Where the middle `side` pixels of `length` begin; halves to even, as torchvision rounds them."""
    return round((length - side) / 2)


def resize_image(image: Image.Image, side: int) -> Image.Image:
    """The shorter side to `side`, then the middle."""
    image = _without_far_ends(image)
    height, width = scaled_size(image.height, image.width, side)
    top, left = crop_start(height, side), crop_start(width, side)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + side, top + side))


def _without_far_ends(image: Image.Image) -> Image.Image:
    """The middle of a long strip: scaled whole, one of 1 × 40,000 pixels would take gigabytes."""
    longest = NARROW * min(image.size)
    left, top = (max(0, length - longest) // 2 for length in image.size)
    return image.crop((left, top, image.width - left, image.height - top)) if left or top else image


def resize_array(images: Uint8, side: int | None) -> Uint8:
    """Images CHW or NCHW likewise; None leaves them as they are."""
    if side is None or images.shape[-2:] == (side, side):
        return images
    batch_nchw = torch.from_numpy(np.ascontiguousarray(images if images.ndim == 4 else images[None]))
    height, width = scaled_size(batch_nchw.shape[2], batch_nchw.shape[3], side)
    resized = F.interpolate(batch_nchw.float(), size=(height, width), mode="bilinear", antialias=True)
    top, left = crop_start(height, side), crop_start(width, side)
    square = resized[:, :, top : top + side, left : left + side].round().clamp(0, 255).to(torch.uint8).numpy()
    return np.ascontiguousarray(square if images.ndim == 4 else square[0])
