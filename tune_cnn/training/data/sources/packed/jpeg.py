"""Fast decoding of plain JPEGs to a square, by libjpeg-turbo through simplejpeg; Pillow's files are image_file.py's.

What a camera's file is ten times too large for needn't be decoded whole: the inverse DCT gives a half, a quarter or an
eighth of it at once (libjpeg-turbo has these in vector instructions, and 3/8, 5/8 … only in plain C, which are slower
than decoding all of it).
"""

import functools
from importlib import import_module

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from tune_cnn.errors import DataError
from tune_cnn.training.data.readers import Uint8
from tune_cnn.training.data.sources.resize import NARROW, crop_start, scaled_size
from tune_cnn.untyped import Untyped

REDUCTIONS = (8, 4, 2)
MARGIN = 1.5  # times the square that a reduced image must be: with less, photographs differed by more than 2 levels
QUALITY = 95  # of copies, with colours at full resolution: photographs differ by 1 to 2 of 256 grey levels in the mean


@functools.cache
def _simplejpeg() -> Untyped:
    try:
        return import_module("simplejpeg")
    except ImportError as error:
        raise DataError(
            f"data.cache: images that are kept as JPEGs are decoded by simplejpeg, which can't be imported "
            f"({error}); uv sync --extra jpeg"
        ) from error


def check_decoder() -> None:
    """DataError where the decoder is missing."""
    _simplejpeg()


def encode(image_chw: Uint8) -> bytes:
    """A small copy of an RGB image."""
    rows_hwc = np.ascontiguousarray(image_chw.transpose(1, 2, 0))
    return bytes(_simplejpeg().encode_jpeg(rows_hwc, quality=QUALITY, colorspace="RGB", colorsubsampling="444"))


def decode(content: Uint8, side: int, *, reduced: bool) -> Uint8:
    """3 × side × side as `resize_image` makes it, EXIF and colour profiles unheard; ValueError where it can't.

    reduced: decode the smallest half, quarter or eighth that is MARGIN times the square or more.
    """
    height, width, *_ = _simplejpeg().decode_jpeg_header(content)
    if max(height, width) > NARROW * min(height, width):
        raise ValueError(f"is a strip of {width} × {height} pixels")
    by = next((by for by in REDUCTIONS if min(height, width) >= MARGIN * by * side), 1) if reduced else 1
    image_hwc = _simplejpeg().decode_jpeg(
        content, colorspace="RGB", min_height=-(-height // by), min_width=-(-width // by)
    )
    if image_hwc.shape[:2] == (side, side):
        square_hwc = image_hwc
    elif by > 1:
        square_hwc = _square_within(image_hwc, height / by, width / by, scaled_size(height, width, side), side)
    else:
        square_hwc = _square(image_hwc, side)
    return np.ascontiguousarray(square_hwc.transpose(2, 0, 1))


def _square(image_hwc: Uint8, side: int) -> Uint8:
    """torch's resampling of uint8 is Pillow's, to one grey level in rounding, at twice its speed."""
    height, width = scaled_size(image_hwc.shape[0], image_hwc.shape[1], side)
    top, left = crop_start(height, side), crop_start(width, side)
    batch_nchw = torch.from_numpy(image_hwc).permute(2, 0, 1)[None]
    resized = F.interpolate(batch_nchw, size=(height, width), mode="bilinear", antialias=True)
    return np.asarray(resized[0, :, top : top + side, left : left + side].permute(1, 2, 0).numpy())


def _square_within(image_hwc: Uint8, height: float, width: float, scaled: tuple[int, int], side: int) -> Uint8:
    """Of a reduced image that is filled to `height` × `width`: its last row and column stand for a part of one."""
    top, left = crop_start(scaled[0], side), crop_start(scaled[1], side)
    y, x = height / scaled[0], width / scaled[1]
    box = (left * x, top * y, (left + side) * x, (top + side) * y)
    return np.asarray(Image.fromarray(image_hwc).resize((side, side), Image.Resampling.BILINEAR, box=box))
