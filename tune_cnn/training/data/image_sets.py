"""A prepared set's parts: which rows of the cache they are, and how to fetch their images."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.data.readers import AwaitedReader, Int64, Reader, Uint8


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """One part (train, validation or test) of a data set."""

    name: str
    indices: Int64  # rows of `images` and of `reader`'s numbering, in ascending order
    labels_n: Int64  # one per index
    images: np.memmap[tuple[int, ...], np.dtype[np.uint8]] | None  # NCHW, of all parts; None: the cache is bypassed
    path: Path | None  # the file that `images` maps
    reader: Reader  # the raw source, one image at a time
    rows: Int64  # the reader's row of each index; equal to `indices` where nothing was left out

    def __len__(self) -> int:
        return len(self.indices)

    def fetch(self, positions: Int64, threads: int = 1) -> Uint8:
        """The images at these positions of the part, at once: from the cache, or else from the source."""
        if self.images is not None:
            return np.asarray(self.images[self.indices[positions]])
        return read_images(self.reader, self.rows[positions], threads)


def read_images(reader: Reader, rows: Int64, threads: int = 1) -> Uint8:
    """These rows, decoded one by one (Pillow frees the interpreter meanwhile, so threads help)."""
    if isinstance(reader, AwaitedReader) and reader.at_once > 1 and len(rows) > 1:
        return np.stack(_as_they_come(reader, rows.tolist(), threads))
    if threads <= 1 or not reader.parallel or len(rows) <= 1:
        return np.stack([reader.image(int(row)) for row in rows])
    with ThreadPoolExecutor(threads) as pool:
        return np.stack(list(pool.map(reader.image, (int(row) for row in rows))))


def _as_they_come(reader: AwaitedReader, rows: list[int], threads: int) -> list[Uint8]:
    """Many are on their way at a time, and as many threads as usual decode those that have come."""
    with ThreadPoolExecutor(min(reader.at_once, len(rows))) as asking:
        contents = asking.map(reader.content, rows)
        if threads <= 1:
            return [reader.decoded(row, content) for row, content in zip(rows, contents, strict=True)]
        with ThreadPoolExecutor(threads) as decoding:
            return list(decoding.map(reader.decoded, rows, contents))


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSets:
    """A prepared data set."""

    facts: DataFacts
    train: ImageSet
    validation: ImageSet
    test: ImageSet
