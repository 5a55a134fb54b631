"""TIFF files of which Pillow gives the upper bits alone, or numbers past the end of their kind: all bits, unwrapped."""

import io
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from tune_cnn.training.data.sources.depth import Shades
from tune_cnn.untyped import Untyped

BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags
UNSIGNED, SIGNED = 1, 2  # of SAMPLE_FORMAT
WHITE_IS_ZERO = 0  # of PHOTOMETRIC
SWAPPED = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}


@dataclass(frozen=True, kw_only=True)
class _Numbers:
    """How a file writes its shades."""

    mode: str
    bits: int
    kind: int

    @classmethod
    def of(cls, image: Image.Image) -> "_Numbers | None":
        tags = getattr(image, "tag_v2", None)
        if image.format != "TIFF" or tags is None:
            return None
        return cls(mode=image.mode, bits=tags.get(BITS, (1,))[0], kind=tags.get(SAMPLE_FORMAT, (UNSIGNED,))[0])


def tiff_shades(image: Image.Image, encoded: Path | bytes) -> tuple[Shades, Image.Image | None] | None:
    """Shades and alpha as `deep_shades` gives them; None where Pillow's pixels are right as they are."""
    numbers = _Numbers.of(image)
    if numbers == _Numbers(mode="L", bits=8, kind=SIGNED):
        return np.asarray(image).view(np.int8).astype(np.int16), None
    if numbers == _Numbers(mode="I", bits=32, kind=UNSIGNED):
        return np.asarray(image).view(np.uint32), None
    if numbers is not None and numbers.bits == 16 and numbers.mode in {"RGB", "RGBA"}:
        return _colour(image, encoded)
    return None


def is_inverted(image: Image.Image) -> bool:
    """Whether 0 is white in a file of 16 bits: Pillow turns round those of 8 alone."""
    return image.mode == "I;16" and getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO


def _colour(image: Image.Image, encoded: Path | bytes) -> tuple[Shades, Image.Image | None] | None:
    """Pillow's unpackers keep a shade's first byte. With the bytes' order exchanged, that is the other one."""
    raw_modes = {str(tile[3][0]) for tile in getattr(image, "tile", ())}
    if not all(";16" in mode for mode in raw_modes):
        raise ValueError("is a TIFF of 16 bits with its colours apart (planar), which Pillow can't read")
    if any(mode.startswith("RGBa") for mode in raw_modes):
        return None  # colours times alpha: 8 bits must do
    with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded) as again:
        assert isinstance(again, ImageFile.ImageFile)
        again.tile = [_swapped(tile) for tile in again.tile]
        low = np.asarray(again)[..., :3]
    high = np.asarray(image)[..., :3]
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    return (high.astype(np.uint16) << 8) | low, alpha


def _swapped(tile: Untyped) -> Untyped:
    raw_mode, *others = tile.args
    return tile._replace(args=(raw_mode[:-1] + SWAPPED[raw_mode[-1]], *others))
