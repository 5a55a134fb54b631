"""Encoded images out of shards and tables, decoded into the cache by all cores as a folder's files are."""

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import numpy as np
from PIL import Image

from tune_cnn.errors import DataError
from tune_cnn.text import printable
from tune_cnn.training.data.readers import Reader, Uint8
from tune_cnn.training.data.sources.depth import Depth
from tune_cnn.training.data.sources.folder.image_file import as_seen, check_pixels, opened
from tune_cnn.training.data.sources.resize import resize_image
from tune_cnn.training.data.sources.source import PARTS, Chunk, PartName

CHUNK = 256


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image, encoded or as its library opened it."""

    content: bytes | Image.Image
    label: int
    place: str  # where it lies, to be shown


@dataclass(frozen=True, kw_only=True)
class PictureSource:
    """Images in colour, of one side; shades of more than 8 bits by the whole range of their kind."""

    name: str
    key: str
    images: int
    classes: tuple[str, ...]
    side: int
    max_pixels: int
    read: Mapping[PartName, Callable[[], Iterator[Callable[[], Picture]]]]  # each image by a call, of any thread
    notes: tuple[str, ...] = ()
    bypass: str = ""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (3, self.side, self.side)

    def reader(self, _depth: Depth | None, /) -> Reader | None:
        return None

    def place(self, _row: int, /) -> None:
        return None

    def chunks(self) -> Iterator[Chunk]:
        row = 0
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
            for part in PARTS:
                calls = self.read[part]() if part in self.read else iter(())
                while some := list(islice(calls, CHUNK)):
                    seen = list(threads.map(self._seen, some))
                    yield Chunk(
                        part=part,
                        labels_n=np.array([label for label, _ in seen], np.int64),
                        rows_n=np.arange(row, row + len(seen)),
                        images_nchw=np.stack([image_chw for _, image_chw in seen]),
                    )
                    row += len(seen)

    def _seen(self, read: Callable[[], Picture]) -> tuple[int, Uint8]:
        """Label and pixels; what was read goes again, as whole photographs take more than their squares."""
        picture = read()
        return picture.label, decoded(picture.content, picture.place, self.side, self.max_pixels)


def picture_key(*said: object) -> str:
    """Key of the cache, of all that the pixels and labels follow from."""
    return hashlib.sha256("|".join(map(str, said)).encode("utf-8", "surrogateescape")).hexdigest()


def decoded(given: bytes | Image.Image, place: str, side: int, max_pixels: int) -> Uint8:
    """3 × side × side; DataError, naming the place, where it can't be read."""
    with readable(place):
        if isinstance(given, bytes):
            with opened(io.BytesIO(given), max_pixels) as image:
                rgb = as_seen(image, given, Depth())
        else:
            with given:
                check_pixels(given, max_pixels)
                rgb = as_seen(given, b"", Depth())
    return np.ascontiguousarray(np.asarray(resize_image(rgb, side)).transpose(2, 0, 1))


@contextmanager
def readable(place: str) -> Iterator[None]:
    """DataError, naming the place, for what is raised within."""
    try:
        yield
    except Exception as error:  # Pillow's decoders raise many kinds
        raise DataError(
            f"data: {printable(place)} can't be read as an image ({type(error).__name__}: {printable(str(error))}); "
            "repair it, or take it out"
        ) from error
