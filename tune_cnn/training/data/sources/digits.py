"""scikit-learn's handwritten digits: 1,797 images of 8×8, embedded in the package, without a test part."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tune_cnn.errors import DataError
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
    """The package's own table, 64 pixels and a label a row; importing scikit-learn for it would cost 3 s a slot."""
    found = find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise DataError("data: digits come with scikit-learn, which is not installed; uv pip install scikit-learn")
    path = Path(found.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    try:
        rows = np.loadtxt(path, delimiter=",")
    except (OSError, ValueError) as error:
        raise DataError(f"data: digits can't be read from {path}: {error}; reinstall scikit-learn") from error
    images_nchw = np.round(rows[:, :-1] * (255 / MAX_VALUE)).astype(np.uint8).reshape(-1, 1, 8, 8)
    return images_nchw, rows[:, -1].astype(np.int64)
