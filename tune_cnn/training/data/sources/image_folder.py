"""A folder of image files: train/, val/ and test/, a subfolder per class; JPEG, PNG and what else Pillow reads."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from tune_cnn.errors import DataError
from tune_cnn.text import printable
from tune_cnn.training.data.readers import Reader, Uint8
from tune_cnn.training.data.sources.folder_files import SHOWN, ImageFile, find_images, some
from tune_cnn.training.data.sources.folder_layout import find_layout
from tune_cnn.training.data.sources.image_file import FolderReader, decode, probe
from tune_cnn.training.data.sources.source import PARTS, SAMPLE, Chunk, PartName

DEFAULT_SIDE = 224  # what torchvision's pretrained networks take
CHUNK = 256

LARGEST_CACHE_BYTES = 64 * 2**30
"""Decoded images above this are read from their files each time instead: a bound of the data alone, so that all
nodes decide alike (their free disk would differ)."""


@dataclass(frozen=True, kw_only=True)
class FolderSource:
    """The files that were found; they are opened only when the cache asks."""

    name: str
    key: str
    root: Path
    files: tuple[ImageFile, ...]  # in the order of PARTS, and of their paths within
    classes: tuple[str, ...]
    side: int
    max_broken: int
    bypass: str
    notes: tuple[str, ...]

    @property
    def images(self) -> int:
        return len(self.files)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (3, self.side, self.side)

    def reader(self) -> Reader:
        return FolderReader(self.root, tuple(file.path for file in self.files), self.side)

    def chunks(self) -> Iterator[Chunk]:
        """Decoded files, or, where the cache is bypassed, files whose heads can be read and a sample decoded."""
        broken: list[str] = []
        every = max(1, sum(file.part == "train" for file in self.files) // SAMPLE)
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
            for part in PARTS:
                rows = [row for row, file in enumerate(self.files) if file.part == part]
                for start in range(0, len(rows), CHUNK):
                    chunk_rows = rows[start : start + CHUNK]
                    decoded = [not self.bypass or row % every == 0 for row in chunk_rows]
                    results = list(threads.map(self._try, chunk_rows, decoded))
                    broken += [result for result in results if isinstance(result, str)]
                    if len(broken) > max(self.max_broken, SHOWN - 1):
                        self._refuse(broken)
                    yield self._chunk(part, chunk_rows, results)
        if len(broken) > self.max_broken:
            self._refuse(broken)
        left_out = (f"{len(broken)} broken images are left out: {some(broken)}",) if broken else ()
        yield self._chunk(self.files[-1].part, [], [], notes=(*self.notes, *left_out))

    def _try(self, row: int, decoded: bool) -> Uint8 | str | None:
        """The image; a word on why it can't be read; or nothing, where only its head was looked at."""
        path = self.root / self.files[row].path
        try:
            if decoded:
                return decode(path, self.side)
            probe(path)
        except Exception as error:  # Pillow's decoders raise many kinds
            return f"{printable(self.files[row].path)} ({type(error).__name__}: {printable(str(error))})"
        return None

    def _chunk(
        self, part: PartName, rows: list[int], results: Sequence[Uint8 | str | None], notes: tuple[str, ...] = ()
    ) -> Chunk:
        kept = [row for row, result in zip(rows, results, strict=True) if not isinstance(result, str)]
        images = [result for result in results if isinstance(result, np.ndarray)]
        files = [self.files[row] for row in kept]
        return Chunk(
            part=part,
            labels_n=np.array([file.label for file in files], np.int64),
            rows_n=np.array(kept, np.int64),
            images_nchw=np.stack(images) if images else np.zeros((0, *self.image_shape), np.uint8),
            identity="".join(f"{file.path}|{file.size_bytes}\n" for file in files).encode("utf-8", "surrogateescape")
            if self.bypass
            else b"",
            notes=notes,
        )

    def _refuse(self, broken: list[str]) -> NoReturn:
        raise DataError(
            f"data: {len(broken)} or more images in {self.root} can't be read, and data.max_broken is "
            f"{self.max_broken}: {some(broken)}; repair or remove them, or raise data.max_broken to leave them out"
        )


def image_folder(
    root: Path, side: int | None, max_broken: int, largest_cache_bytes: int = LARGEST_CACHE_BYTES
) -> FolderSource:
    """List the files; DataError where folders or classes don't fit together."""
    side = side or DEFAULT_SIDE
    layout = find_layout(root)
    files, notes = find_images(layout)
    size_bytes = len(files) * 3 * side * side
    bypass = ""
    if size_bytes > largest_cache_bytes:
        bypass = (
            f"the decoded images would take {size_bytes:,} bytes, so they aren't cached but read from their files "
            f"each time; mean and std are of a sample of some {SAMPLE} training images"
        )
    said = "".join(f"{f.part}|{f.path}|{f.size_bytes}|{f.mtime_ns}\n" for f in files)
    settings = f"image_folder|{side}|{max_broken}|{bool(bypass)}|{root}\n"
    return FolderSource(
        name="image_folder",
        key=hashlib.sha256((settings + said).encode("utf-8", "surrogateescape")).hexdigest(),
        root=root,
        files=files,
        classes=layout.classes,
        side=side,
        max_broken=max_broken,
        bypass=bypass,
        notes=notes,
    )
