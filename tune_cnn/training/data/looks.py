"""What an image looks like to the checks before a search: nearly constant, or equal to another one."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tune_cnn.training.data.readers import Int64, Uint8

CONSTANT_SHADES = 16  # of 256: an image whose pixels all lie within fewer shows nothing, or was read too dark
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Looks:
    """Of each image of a set."""

    contents_n: Int64  # equal for equal images, and, as good as ever, for no others
    constant_n: Bools

    @classmethod
    def of(cls, looks_n2: Int64) -> "Looks":
        """As `looks_of` gives them."""
        return cls(contents_n=looks_n2[:, 0], constant_n=looks_n2[:, 1].astype(bool))


def looks_of(images_nchw: Uint8) -> Int64:
    """A number of each image's content, and 1 where it is nearly constant: images × 2."""
    return np.stack([_contents(images_nchw), nearly_constant(images_nchw)], axis=1)


def nearly_constant(images_nchw: Uint8) -> Bools:
    """Of each image, whether all pixels of every channel lie within CONSTANT_SHADES."""
    flat = images_nchw.reshape(*images_nchw.shape[:2], -1)
    spread_nc = flat.max(axis=2).astype(np.int16) - flat.min(axis=2)
    return np.asarray((spread_nc < CONSTANT_SHADES).all(axis=1))


def _contents(images_nchw: Uint8) -> Int64:
    digests = [hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8).digest() for image in images_nchw]
    return np.frombuffer(b"".join(digests), np.int64)
