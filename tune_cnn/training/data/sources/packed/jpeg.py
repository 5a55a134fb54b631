"""Fast decoding of plain JPEGs to a square, by libjpeg-turbo through simplejpeg; Pillow's files are image_file.py's.

What a camera's file is ten times too large for needn't be decoded whole: the inverse DCT gives a half, a quarter or an
eighth of it at once (libjpeg-turbo has these in vector instructions, and 3/8, 5/8 … only in plain C, which are slower
than decoding all of it).
"""

import functools
from importlib import import_module

import numpy as np

from tune_cnn.errors import DataError
from tune_cnn.training.data.readers import Uint8
from tune_cnn.training.data.sources.packed.square import Extent, resampler, square
from tune_cnn.training.data.sources.resize import NARROW, scaled_size
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


def decoder() -> str:
    """What decodes packed images: others would show other pixels, if hardly. For the keys of sets and entries."""
    return f"simplejpeg, fast, {resampler()}"


def encode(image_chw: Uint8) -> bytes:
    """A small copy of an RGB image."""
    rows_hwc = np.ascontiguousarray(image_chw.transpose(1, 2, 0))
    return bytes(_simplejpeg().encode_jpeg(rows_hwc, quality=QUALITY, colorspace="RGB", colorsubsampling="444"))


def decode(content: Uint8, side: int, *, fast: bool, reduced: bool) -> Uint8:
    """3 × side × side as `resize_image` makes it, EXIF and colour profiles unheard; ValueError where it can't. A view
    of side × side × 3, as batches are stacked without a copy in another order.

    fast: with the fastest inverse DCT and upsampling of colours, which photographs hardly show.
    reduced: decode the smallest half, quarter or eighth that is MARGIN times the square or more.
    """
    height, width, *_ = _simplejpeg().decode_jpeg_header(content)
    if max(height, width) > NARROW * min(height, width):
        raise ValueError(f"is a strip of {width} × {height} pixels")
    by = next((by for by in REDUCTIONS if min(height, width) >= MARGIN * by * side), 1) if reduced else 1
    image_hwc = _simplejpeg().decode_jpeg(
        content,
        colorspace="RGB",
        fastdct=fast,
        fastupsample=fast,
        min_height=-(-height // by),
        min_width=-(-width // by),
    )
    if image_hwc.shape[:2] == (side, side):
        square_hwc = image_hwc
    else:
        extent = Extent(height=height / by, width=width / by)
        square_hwc = square(image_hwc, extent, scaled_size(height, width, side), side)
    return np.asarray(square_hwc.transpose(2, 0, 1))
