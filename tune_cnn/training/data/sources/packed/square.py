"""The middle square of a decoded JPEG, bilinear and antialiased as Pillow does it, at four to six times its speed.

By cykooz_resizer (the Rust crate fast_image_resize, which computes the square's pixels alone), or where there is none
for this kind of machine, by torch. They differ from each other and from Pillow in rounding.
"""

import functools
import threading
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from tune_cnn.training.data.readers import Uint8
from tune_cnn.training.data.sources.resize import crop_start, scaled_size
from tune_cnn.untyped import Untyped

_OF_THREAD = threading.local()  # a resizer has memory of its own, which two threads can't use at a time


@dataclass(frozen=True, kw_only=True)
class Extent:
    """What a decoded image shows of the original, in its own pixels: of a reduced one, the last row and column stand
    for a part of one."""

    height: float
    width: float


def square(image_hwc: Uint8, extent: Extent, scaled: tuple[int, int], side: int) -> Uint8:
    """side × side × 3. `scaled`: height and width of the whole image once its shorter side is `side`."""
    top, left = crop_start(scaled[0], side), crop_start(scaled[1], side)
    y, x = extent.height / scaled[0], extent.width / scaled[1]
    height, width, _ = image_hwc.shape
    box = (left * x, top * y, min((left + side) * x, width), min((top + side) * y, height))
    if _cykooz() is not None:
        return _by_cykooz(image_hwc, box, side)
    if scaled == scaled_size(height, width, side) and (extent.height, extent.width) == (height, width):
        return _by_torch(image_hwc, scaled, side)
    return np.asarray(Image.fromarray(image_hwc).resize((side, side), Image.Resampling.BILINEAR, box=box))


@functools.cache
def _cykooz() -> Untyped:
    """None where it can't be imported: it has no wheels for Linux on ARM."""
    try:
        return import_module("cykooz_resizer")
    except ImportError:
        return None


def resampler() -> str:
    """What resizes here: an image differs by it in rounding."""
    return "torch" if _cykooz() is None else "cykooz_resizer"


def _by_cykooz(image_hwc: Uint8, box: tuple[float, float, float, float], side: int) -> Uint8:
    cykooz = _cykooz()
    if not hasattr(_OF_THREAD, "resizer"):
        _OF_THREAD.resizer = cykooz.Resizer()
    height, width, _ = image_hwc.shape
    left, top, right, bottom = box
    options = cykooz.ResizeOptions(
        resize_alg=cykooz.ResizeAlg.convolution(cykooz.FilterType.bilinear),
        crop_box=cykooz.CropBox(left, top, right - left, bottom - top),
        use_alpha=False,
    )
    resized = cykooz.ImageData(side, side, cykooz.PixelType.U8x3)
    given = cykooz.ImageData(width, height, cykooz.PixelType.U8x3, image_hwc.tobytes())
    _OF_THREAD.resizer.resize(given, resized, options)
    return np.frombuffer(bytearray(resized.get_buffer()), np.uint8).reshape(side, side, 3)  # may be written to


def _by_torch(image_hwc: Uint8, scaled: tuple[int, int], side: int) -> Uint8:
    top, left = crop_start(scaled[0], side), crop_start(scaled[1], side)
    batch_nchw = torch.from_numpy(image_hwc).permute(2, 0, 1)[None]
    resized = F.interpolate(batch_nchw, size=scaled, mode="bilinear", antialias=True)
    return np.asarray(resized[0, :, top : top + side, left : left + side].permute(1, 2, 0).numpy())
