"""scikit-learn's handwritten digits: 1,797 images of 8×8, embedded in the package, without a test part."""

import hashlib

import numpy as np
from sklearn.datasets import load_digits

from tune_cnn.training.data.readers import Int64, Uint8
from tune_cnn.training.data.sources.arrays import ArraySource, array_key

MAX_VALUE = 16  # scikit-learn gives 17 shades as floats 0..16


def digits(side: int | None) -> ArraySource:
    images_nchw, labels_n = _arrays()
    content = hashlib.sha256(images_nchw.tobytes() + labels_n.tobytes()).digest()
    return ArraySource(
        name="digits",
        key=array_key("digits", side, content),
        images=len(images_nchw),
        image_shape=(1, side, side) if side else (1, 8, 8),
        classes=tuple(str(digit) for digit in range(10)),
        side=side,
        read=lambda: {"train": (images_nchw, labels_n)},
    )


def _arrays() -> tuple[Uint8, Int64]:
    raw = load_digits()
    images_nchw = np.round(raw.images * (255 / MAX_VALUE)).astype(np.uint8)[:, None]
    return images_nchw, raw.target.astype(np.int64)
