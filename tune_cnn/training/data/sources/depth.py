"""Shades of more than 8 bits brought to 8: one range for all files of a folder, found in them.

Cameras, scanners and label tools write 10, 12 or 14 bits into files of 16. Each scaled by itself, brightness would tell
nothing any more; scaled by 16 bits, they would be nearly black.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tune_cnn.untyped import Plain, Untyped

BITS = (8, 10, 12, 14, 16)  # what sensors give
PNG_BITS = 24  # where a PNG says how many bits its shades have
# TIFF and its large kind, JPEG 2000 in a file and bare, netpbm's grey, colour and real numbers.
DEEP_HEADS = (b"II", b"MM", b"\0\0\0\x0cjP", b"\xffO\xffQ", b"P2", b"P3", b"P5", b"P6", b"PF", b"Pf")
Shades = NDArray[Untyped]
Kind = Literal["whole", "real"]


@dataclass(frozen=True, kw_only=True)
class Extent:
    """The smallest and the largest shade of some images."""

    kind: Kind
    low: float
    high: float

    def joined(self, other: "Extent") -> "Extent":
        return Extent(kind=self.kind, low=min(self.low, other.low), high=max(self.high, other.high))


@dataclass(frozen=True, kw_only=True)
class Depth:
    """Black and white of a folder's deep images: of those of whole numbers, and of those of real ones."""

    whole: tuple[float, float] = (0, 2**16 - 1)
    real: tuple[float, float] = (0, 1)

    def to_8_bits(self, shades: Shades) -> NDArray[np.uint8]:
        """Any shape; what lies beyond black or white becomes that."""
        black, white = self.real if shades.dtype.kind == "f" else self.whole
        scaled = (shades.astype(np.float64) - black) * (255 / (white - black))
        return np.rint(scaled).clip(0, 255).astype(np.uint8)

    def as_plain(self) -> Plain:
        return [list(self.whole), list(self.real)]

    @classmethod
    def from_plain(cls, written: Plain) -> "Depth":
        whole, real = written
        return cls(whole=(whole[0], whole[1]), real=(real[0], real[1]))


def extent(shades: Shades) -> Extent:
    """ValueError where a shade is no number."""
    low, high = float(shades.min()), float(shades.max())
    if not np.isfinite((low, high)).all():
        raise ValueError("some of its pixels are no finite numbers")
    return Extent(kind="real" if shades.dtype.kind == "f" else "whole", low=low, high=high)


def depth_of(extents: Iterable[Extent]) -> Depth:
    """From what all deep images of a folder hold.

    Without negative shades, black is 0. White is 1 for real numbers up to 1, else the most that the fewest bits of BITS
    give which hold the brightest shade, else that shade. With negative ones, black and white are the ends themselves.
    """
    joined: dict[Kind, Extent] = {}
    for one in extents:
        joined[one.kind] = one.joined(joined[one.kind]) if one.kind in joined else one
    return Depth(**{kind: _range(one) for kind, one in joined.items()})


def _range(found: Extent) -> tuple[float, float]:
    if found.low < 0:
        return found.low, max(found.high, found.low + 1)
    if found.kind == "real" and found.high <= 1:
        return 0, 1
    fitting = [2**bits - 1 for bits in BITS if found.high <= 2**bits - 1]
    return 0, float(fitting[0]) if fitting else found.high


def may_be_deep(path: Path) -> bool:
    """By its first bytes: a file of a kind that can hold more than 8 bits, whatever its ending says."""
    with path.open("rb") as file:
        head = file.read(PNG_BITS + 1)
    if head.startswith(b"\x89PNG"):
        return head[PNG_BITS:] == b"\x10"
    return head.startswith(DEEP_HEADS)
