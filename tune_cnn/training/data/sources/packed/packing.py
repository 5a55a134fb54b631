"""What is kept of an image in a packed file: bytes from which the fast decoder was seen to give the same image."""

import io
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
from PIL import Image

from tune_cnn.training.data.readers import Uint8
from tune_cnn.training.data.sources.packed.jpeg import decode, encode

TOLERANCE = 2.0  # of 256 grey levels, in the mean over an image: what the eye doesn't see, and copies keep
JPEG_HEAD = b"\xff\xd8\xff"
Kind = Literal["jpeg", "small_jpeg"]


class How(IntEnum):
    """How an image is decoded from its bytes."""

    PIXELS = 0  # of a PNG of the square itself, by Pillow
    WHOLE = 1  # a JPEG, decoded whole and with care
    REDUCED = 2  # a JPEG, decoded fast, at a half, a quarter or an eighth where it is large enough
    FAST = 3  # a JPEG, decoded fast and whole


@dataclass(frozen=True, kw_only=True)
class Packed:
    content: bytes
    how: How


def pack(image_chw: Uint8, file: bytes, kind: Kind) -> Packed:
    """`image_chw` is what the file shows: 3 × side × side.

    A file whose fast decoding shows something else (turned by EXIF, through a colour profile, no JPEG at all), or that
    is larger than its own pixels here, is kept as a PNG of the square.
    """
    if kind == "small_jpeg":
        file, ways = encode(image_chw), [How.WHOLE]
    else:
        ways = [How.REDUCED, How.FAST, How.WHOLE]
    if file.startswith(JPEG_HEAD) and len(file) < image_chw.size:
        for how in ways:
            if _shows(file, how, image_chw):
                return Packed(content=file, how=how)
    return Packed(content=_png(image_chw), how=How.PIXELS)


def unpack(content: Uint8, how: How, side: int) -> Uint8:
    """3 × side × side; whatever the decoders raise where the content is damaged."""
    if how is How.PIXELS:
        with Image.open(io.BytesIO(content.tobytes())) as image:
            return np.array(image).transpose(2, 0, 1)
    return decode(content, side, fast=how is not How.WHOLE, reduced=how is How.REDUCED)


def _shows(file: bytes, how: How, image_chw: Uint8) -> bool:
    try:
        shown_chw = unpack(np.frombuffer(file, np.uint8), how, image_chw.shape[1])
    except ValueError:  # what libjpeg-turbo doesn't decode to RGB, or not without a warning
        return False
    return float(np.abs(shown_chw.astype(np.int16) - image_chw).mean()) <= TOLERANCE


def _png(image_chw: Uint8) -> bytes:
    written = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image_chw.transpose(1, 2, 0))).save(written, "PNG", compress_level=1)
    return written.getvalue()
