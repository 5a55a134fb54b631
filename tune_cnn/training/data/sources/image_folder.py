"""A folder of image files: train/, val/ and test/, a subfolder per class; JPEG, PNG and what else Pillow reads."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from tune_cnn.errors import DataError, nearest
from tune_cnn.training.data.readers import Reader, Uint8
from tune_cnn.training.data.sources.image_file import FolderReader, decode, probe
from tune_cnn.training.data.sources.source import PARTS, SAMPLE, Chunk, PartName

FOLDERS: dict[PartName, str] = {"train": "train", "validation": "val", "test": "test"}
EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
DEFAULT_SIDE = 224  # what torchvision's pretrained networks take
CHUNK = 256
SHOWN = 10  # names in a message

LARGEST_CACHE_BYTES = 64 * 2**30
"""Decoded images above this are read from their files each time instead: a bound of the data alone, so that all
nodes decide alike (their free disk would differ)."""


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    part: PartName
    path: str  # relative to the root
    label: int
    size_bytes: int
    mtime_ns: int


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
        left_out = (f"{len(broken)} broken images are left out: {_some(broken)}",) if broken else ()
        yield self._chunk(self.files[-1].part, [], [], notes=(*self.notes, *left_out))

    def _try(self, row: int, decoded: bool) -> Uint8 | str | None:
        """The image; a word on why it can't be read; or nothing, where only its head was looked at."""
        path = self.root / self.files[row].path
        try:
            if decoded:
                return decode(path, self.side)
            probe(path)
        except Exception as error:  # Pillow's decoders raise many kinds
            return f"{self.files[row].path} ({type(error).__name__}: {error})"
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
            identity="".join(f"{file.path}|{file.size_bytes}\n" for file in files).encode() if self.bypass else b"",
            notes=notes,
        )

    def _refuse(self, broken: list[str]) -> NoReturn:
        raise DataError(
            f"data: {len(broken)} or more images in {self.root} can't be read, and data.max_broken is "
            f"{self.max_broken}: {_some(broken)}; repair or remove them, or raise data.max_broken to leave them out"
        )


def image_folder(
    root: Path, side: int | None, max_broken: int, largest_cache_bytes: int = LARGEST_CACHE_BYTES
) -> FolderSource:
    """List the files; DataError where folders or classes don't fit together."""
    side = side or DEFAULT_SIDE
    train = root / FOLDERS["train"]
    classes = _subfolders(train) if train.is_dir() else ()
    if not classes:
        raise DataError(
            f"data: image_folder needs {train}/<class>/<image>, and may have {FOLDERS['validation']}/ and "
            f"{FOLDERS['test']}/ beside it, but {train} {'has no subfolders' if train.is_dir() else 'is no folder'}; "
            "set data.root to the folder that holds train/"
        )
    files: list[ImageFile] = []
    ignored: list[str] = []
    for part in PARTS:
        if (root / FOLDERS[part]).is_dir():
            _list_part(root, part, classes, files, ignored)
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
        files=tuple(files),
        classes=classes,
        side=side,
        max_broken=max_broken,
        bypass=bypass,
        notes=(f"{len(ignored)} files are no images by their ending: {_some(ignored)}",) if ignored else (),
    )


def _list_part(
    root: Path, part: PartName, classes: tuple[str, ...], files: list[ImageFile], ignored: list[str]
) -> None:
    folder = root / FOLDERS[part]
    unknown = [name for name in _subfolders(folder) if name not in classes]
    if unknown:
        raise DataError(
            f"data: {folder} has a class {unknown[0]!r} that {root / FOLDERS['train']} doesn't have"
            f"{nearest(unknown[0], classes)}"
        )
    found = 0
    for label, name in enumerate(classes):
        for where, subfolders, names in os.walk(folder / name, followlinks=True):
            subfolders.sort()
            for file in sorted(names):
                path = Path(where, file)
                if path.suffix.lower() not in EXTENSIONS:
                    if not file.startswith("."):
                        ignored.append(str(path.relative_to(root)))
                    continue
                stat = path.stat() if path.exists() else None  # a dangling link is found broken when it is opened
                files.append(
                    ImageFile(
                        part=part,
                        path=str(path.relative_to(root)),
                        label=label,
                        size_bytes=stat.st_size if stat else 0,
                        mtime_ns=stat.st_mtime_ns if stat else 0,
                    )
                )
                found += 1
    if not found:
        raise DataError(f"data: {folder} has no images; put them into {folder}/<class>/, or remove the folder")


def _subfolders(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
