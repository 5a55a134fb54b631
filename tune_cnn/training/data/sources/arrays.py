"""Sets that lie in memory whole once they are read: digits and torchvision's small ones."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from tune_cnn.training.data.readers import Int64, Reader, Uint8
from tune_cnn.training.data.sources.depth import Depth
from tune_cnn.training.data.sources.resize import resize_array
from tune_cnn.training.data.sources.source import PARTS, Chunk, PartName

CHUNK = 1024  # images resized at a time

Arrays = Mapping[PartName, tuple[Uint8, Int64]]  # images NCHW and labels of each part that there is


@dataclass(frozen=True, kw_only=True)
class ArraySource:
    """A set whose arrays are read only when the cache asks for them."""

    name: str
    key: str
    images: int
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    side: int | None
    read: Callable[[], Arrays]
    bypass: str = ""
    notes: tuple[str, ...] = ()

    def chunks(self) -> Iterator[Chunk]:
        arrays = self.read()
        row = 0
        for part in PARTS:
            if part not in arrays:
                continue
            images_nchw, labels_n = arrays[part]
            for start in range(0, len(images_nchw), CHUNK):
                chunk = resize_array(images_nchw[start : start + CHUNK], self.side)
                yield Chunk(
                    part=part,
                    labels_n=labels_n[start : start + CHUNK].astype(np.int64),
                    rows_n=np.arange(row, row + len(chunk)),
                    images_nchw=chunk,
                )
                row += len(chunk)

    def reader(self, _depth: Depth | None, /) -> Reader | None:
        return None

    def place(self, _row: int, /) -> None:
        return None


def array_key(name: str, side: int | None, content: bytes) -> str:
    """Key of the cache from the hash of the raw bytes."""
    return hashlib.sha256(f"{name}|{side}|".encode() + content).hexdigest()
