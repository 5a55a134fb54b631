"""A folder of image files: train/, val/ and test/, a subfolder per class, or classes alone; whatever Pillow reads."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.text import printable
from tune_cnn.training.data.readers import Reader, Uint8
from tune_cnn.training.data.sources.depth import Depth
from tune_cnn.training.data.sources.folder.entries import target
from tune_cnn.training.data.sources.folder.files import SHOWN, ImageFile, find_images, some
from tune_cnn.training.data.sources.folder.image_file import Decoding, FolderReader
from tune_cnn.training.data.sources.folder.layout import find_layout
from tune_cnn.training.data.sources.folder.no_image import what_instead
from tune_cnn.training.data.sources.packed.kept import Kept, Packing, Sizes, how_kept
from tune_cnn.training.data.sources.packed.packing import Kind, Packed, pack
from tune_cnn.training.data.sources.source import PARTS, SAMPLE, Chunk, PartName

DEFAULT_SIDE = 224  # what torchvision's pretrained networks take
CHUNK = 256

# What to do about a file that can't be read. Only a damaged image is one that may be missed.
DAMAGED = "repair or remove damaged images, or raise data.max_broken to leave them out"
NO_IMAGE = "remove what is no image, or fetch it again"
UNREAD = "make readable what can't be opened, fetch what a link leads to, or remove it"

LARGEST_CACHE_BYTES = 64 * 2**30
"""Decoded images above this are read from their files each time instead: a bound of the data alone, so that all
nodes decide alike (their free disk would differ)."""


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What came of one file."""

    image_chw: Uint8 | None = None  # where it was decoded
    broken: str = ""  # why it can't be read
    todo: str = ""  # what the user can do about it
    several: bool = False
    packed: Packed | None = None


@dataclass(frozen=True, kw_only=True)
class _Look:
    """Opens files."""

    root: Path
    decoding: Decoding
    packed_as: Kind | None

    def at(self, path: str, decoded: bool) -> _Seen:
        """Decoded, or its head alone."""
        try:
            if not decoded:
                self.decoding.open(self.root / path).close()
                return _Seen()
            image_chw, several = self.decoding.look(self.root / path)
            packed = self.packed_as and pack(image_chw, (self.root / path).read_bytes(), self.packed_as)
        except Exception as error:  # Pillow's decoders raise many kinds
            return self._broken(path, error)
        return _Seen(image_chw=image_chw, several=several, packed=packed)

    def _broken(self, path: str, error: Exception) -> _Seen:
        """An image that is damaged, something else under an image's name, or what this user can't read."""
        why, todo = f"{type(error).__name__}: {printable(str(error))}", DAMAGED
        try:
            if instead := what_instead(self.root / path):
                why, todo = instead, NO_IMAGE
        except OSError as unread:
            why, todo = f"{type(unread).__name__}: {unread.strerror}", UNREAD
            if to := target(self.root / path):
                why += f", a link to {to}"
        return _Seen(broken=f"{printable(path)} ({why})", todo=todo)


@dataclass(frozen=True, kw_only=True)
class FolderSource:
    """The files that were found; they are opened only when the cache asks."""

    name: str
    key: str
    root: Path
    files: tuple[ImageFile, ...]  # in the order of PARTS, and of their paths within
    classes: tuple[str, ...]
    decoding: Decoding
    max_broken: int
    kept: Kept
    notes: tuple[str, ...]

    @property
    def bypass(self) -> str:
        return self.kept.bypass

    @property
    def packing(self) -> Packing | None:
        return self.kept.packing

    @property
    def images(self) -> int:
        return len(self.files)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (3, self.decoding.side, self.decoding.side)

    def reader(self, depth: Depth | None, /) -> Reader:
        decoding = self.decoding if depth is None else replace(self.decoding, depth=depth)
        return FolderReader(self.root, tuple(file.path for file in self.files), decoding)

    def place(self, row: int, /) -> str:
        return printable(self.files[row].path)

    def chunks(self) -> Iterator[Chunk]:
        """Decoded files, or, where the cache is bypassed, files whose heads can be read and a sample decoded."""
        broken: list[_Seen] = []
        several: list[str] = []
        every = max(1, sum(file.part == "train" for file in self.files) // SAMPLE)
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
            depth = self.decoding.find_depth([self.root / file.path for file in self.files], threads)
            look = _Look(
                root=self.root,
                decoding=replace(self.decoding, depth=depth),
                packed_as=self.packing.kind if self.packing else None,
            )
            for part in PARTS:
                rows = [row for row, file in enumerate(self.files) if file.part == part]
                for start in range(0, len(rows), CHUNK):
                    chunk_rows = rows[start : start + CHUNK]
                    decoded = [not self.bypass or row % every == 0 for row in chunk_rows]
                    seen = list(threads.map(look.at, [self.files[row].path for row in chunk_rows], decoded))
                    broken += [one for one in seen if one.broken]
                    several += [self.place(row) for row, one in zip(chunk_rows, seen, strict=True) if one.several]
                    if len(broken) > max(self.max_broken, SHOWN - 1):
                        self._refuse(broken)
                    yield self._chunk(part, chunk_rows, seen)
        if len(broken) > self.max_broken:
            self._refuse(broken)
        images = "image is" if len(broken) == 1 else "images are"
        notes = [f"{len(broken)} broken {images} left out: {_some(broken)}"] if broken else []
        notes += [f"{len(several)} files hold several images, and the first counts: {some(several)}"] if several else []
        yield self._chunk(self.files[-1].part, [], [], notes=tuple(notes), depth=depth)

    def _chunk(
        self,
        part: PartName,
        rows: list[int],
        seen: Sequence[_Seen],
        notes: tuple[str, ...] = (),
        depth: Depth | None = None,
    ) -> Chunk:
        kept = [row for row, one in zip(rows, seen, strict=True) if not one.broken]
        images = [one.image_chw for one in seen if one.image_chw is not None]
        files = [self.files[row] for row in kept]
        listed = "".join(f"{file.path}|{file.size_bytes}\n" for file in files) if self.bypass else ""
        return Chunk(
            part=part,
            labels_n=np.array([file.label for file in files], np.int64),
            rows_n=np.array(kept, np.int64),
            images_nchw=np.stack(images) if images else np.zeros((0, *self.image_shape), np.uint8),
            identity=listed.encode("utf-8", "surrogateescape"),
            notes=notes,
            depth=depth,
            packed=tuple(one.packed for one in seen if one.packed is not None),
        )

    def _refuse(self, broken: list[_Seen]) -> NoReturn:
        todo = sorted({one.todo for one in broken})
        limit = f", and data.max_broken is {self.max_broken}" if DAMAGED in todo else ""
        raise DataError(
            f"data: {len(broken)} or more files in {printable(str(self.root))} can't be read as images{limit}: "
            f"{_some(broken)}; {'; '.join(todo)}"
        )


def _some(broken: Sequence[_Seen]) -> str:
    return some([one.broken for one in broken])


def image_folder(data: DataSpec, largest_cache_bytes: int = LARGEST_CACHE_BYTES) -> FolderSource:
    """List the files; DataError where folders or classes don't fit together."""
    layout = find_layout(Path(data.root))
    files, notes = find_images(layout)
    return source_of_files(
        "image_folder", layout.root, files, layout.classes, notes, data=data, largest_cache_bytes=largest_cache_bytes
    )


def source_of_files(
    name: str,
    root: Path,
    files: tuple[ImageFile, ...],
    classes: tuple[str, ...],
    notes: tuple[str, ...],
    *,
    data: DataSpec,
    largest_cache_bytes: int = LARGEST_CACHE_BYTES,
) -> FolderSource:
    """Of files in the order of PARTS, however they were found."""
    side = data.image_size or DEFAULT_SIDE
    image_bytes = 3 * side * side
    sizes = Sizes(
        pixels_bytes=len(files) * image_bytes,
        jpeg_bytes=sum(min(file.size_bytes, image_bytes) for file in files),
        largest_bytes=largest_cache_bytes,
    )
    kept = how_kept(data.cache, sizes)
    said = "".join(f"{f.part}|{f.path}|{f.label}|{f.size_bytes}|{f.mtime_ns}\n" for f in files)
    kind = kept.packing.shown if kept.packing else "pixels"
    settings = f"{name}|{side}|{data.max_broken}|{data.max_pixels}|{bool(kept.bypass)}|{kind}|{root}|{classes}\n"
    return FolderSource(
        name=name,
        key=hashlib.sha256((settings + said).encode("utf-8", "surrogateescape")).hexdigest(),
        root=root,
        files=files,
        classes=classes,
        decoding=Decoding(side=side, max_pixels=data.max_pixels),
        max_broken=data.max_broken,
        kept=kept,
        notes=(*notes, *([kept.note] if kept.note else [])),
    )
