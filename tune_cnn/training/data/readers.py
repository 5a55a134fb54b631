"""Reading one image at a time, in this process or in a loader process."""

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tune_cnn.untyped import Untyped

Uint8 = NDArray[np.uint8]
Int64 = NDArray[np.int64]


class Reader(Protocol):
    """Picklable; holds paths rather than pixels, so that it costs little to hand to a process."""

    parallel: bool  # may be asked by several threads at once

    def image(self, row: int) -> Uint8:
        """The decoded image of that row: uint8, channels × height × width."""
        ...


@runtime_checkable
class AwaitedReader(Protocol):
    """A reader whose images may come over a network: more of them are asked for at a time than cores decode."""

    @property
    def at_once(self) -> int:
        """Images; 1 where they lie on a disk."""
        ...

    def content(self, row: int) -> bytes:
        """Its bytes, as they come; several threads may ask at once."""
        ...

    def decoded(self, row: int, content: bytes) -> Uint8:
        """As `image`, of that row's bytes."""
        ...


def at_once(reader: Reader) -> int:
    """Images that are asked for at a time, whatever the cores."""
    return reader.at_once if isinstance(reader, AwaitedReader) else 1


def open_images(path: Path) -> np.memmap[tuple[int, ...], np.dtype[np.uint8]]:
    """Map the decoded images. Copy-on-write: pages are shared until written, and nobody writes them.

    torch takes a read-only array with a warning only, hence not mode "r".
    """
    mapped = np.load(path, mmap_mode="c", allow_pickle=False)
    assert isinstance(mapped, np.memmap)
    return mapped


class CacheReader:
    """Images of the cache, one by one through Pillow, as torchvision's data sets in memory hand them out."""

    parallel = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self._images: np.memmap[tuple[int, ...], np.dtype[np.uint8]] | None = None

    def __getstate__(self) -> dict[str, Untyped]:
        return {"path": self.path, "_images": None}

    @property
    def images(self) -> np.memmap[tuple[int, ...], np.dtype[np.uint8]]:
        if self._images is None:
            self._images = open_images(self.path)
        return self._images

    def image(self, row: int) -> Uint8:
        image_chw = self.images[row]
        if image_chw.shape[0] == 1:
            return np.asarray(Image.fromarray(np.asarray(image_chw[0])))[None]
        if image_chw.shape[0] == 3:
            return np.asarray(Image.fromarray(np.ascontiguousarray(image_chw.transpose(1, 2, 0)))).transpose(2, 0, 1)
        return np.array(image_chw)  # Pillow has no image of other channels
