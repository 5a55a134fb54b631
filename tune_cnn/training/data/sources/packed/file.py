"""The packed file of a cache entry and its index: images.pack, its offsets, and how each image is decoded."""

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tune_cnn.errors import DataError
from tune_cnn.training.data.readers import Int64, Uint8
from tune_cnn.training.data.sources.packed.jpeg import check_decoder
from tune_cnn.training.data.sources.packed.packing import How, Packed, unpack
from tune_cnn.untyped import Untyped

PACK, INDEX = "images.pack", "index.npy"


class PackWriter:
    """Appends images to a file; the index comes when all are there."""

    def __init__(self, file: BinaryIO, most_bytes: int | None) -> None:
        """`most_bytes`: what the file may hold; None: any."""
        self._file = file
        self._most = most_bytes
        self._ends = [0]
        self._hows: list[int] = []

    def add(self, images: Iterable[Packed]) -> None:
        """TooLarge where it becomes more than it may be."""
        for image in images:
            self._file.write(image.content)
            self._ends.append(self._ends[-1] + len(image.content))
            self._hows.append(image.how)
        if self._most is not None and self._ends[-1] > self._most:
            raise TooLarge(self._ends[-1])

    def index(self) -> Int64:
        """Of each image: where it begins, where it ends, how it is decoded."""
        return np.stack([self._ends[:-1], self._ends[1:], self._hows], axis=1).astype(np.int64)


class TooLarge(Exception):
    """A file of images takes more than it may."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self.size_bytes = size_bytes  # so many, or more


def fits(folder: Path, *, images: int, size_bytes: int) -> bool:
    """Whether file and index are whole, and belong together."""
    index_n3 = np.load(folder / INDEX, mmap_mode="r", allow_pickle=False)
    return (
        index_n3.shape == (images, 3)
        and (folder / PACK).stat().st_size == size_bytes
        and bool(index_n3[0, 0] == 0 and index_n3[-1, 1] == size_bytes)
        and bool((index_n3[1:, 0] == index_n3[:-1, 1]).all() and (index_n3[:, 0] < index_n3[:, 1]).all())
    )


class PackReader:
    """Images of a packed file, decoded one by one; picklable, as it holds the paths alone."""

    parallel = True

    def __init__(self, folder: Path, side: int) -> None:
        self.folder = folder
        self.side = side
        self._mapped: tuple[Uint8, Int64] | None = None

    def __getstate__(self) -> dict[str, Untyped]:
        return {"folder": self.folder, "side": self.side, "_mapped": None}

    def content(self, row: int) -> tuple[Uint8, How]:
        """The bytes that are kept of an image, and how it is decoded from them."""
        if self._mapped is None:
            self._mapped = (
                np.memmap(self.folder / PACK, np.uint8, "r"),
                np.load(self.folder / INDEX, mmap_mode="r", allow_pickle=False),
            )
        pack, index = self._mapped
        start, end, how = index[row].tolist()
        return pack[start:end], How(how)

    def image(self, row: int) -> Uint8:
        if self._mapped is None:
            check_decoder()
        content, how = self.content(row)
        try:
            return unpack(content, how, self.side)
        except Exception as error:  # the decoders raise many kinds
            raise DataError(
                f"data: image {row} of {self.folder / PACK} can't be decoded ({type(error).__name__}: {error}); the "
                f"cache is damaged: delete {self.folder} and start again"
            ) from error
