"""Images out of shards: read once into the cache, in whatever form it keeps them, or one by one where they lie."""

import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np

from tune_cnn.errors import DataError
from tune_cnn.text import printable
from tune_cnn.training.data.readers import Int64, Reader, Uint8
from tune_cnn.training.data.sources.depth import Depth
from tune_cnn.training.data.sources.folder.image_file import opened
from tune_cnn.training.data.sources.hubs.pictures import CHUNK, decoded, readable
from tune_cnn.training.data.sources.hubs.tar_samples import BEGINNING, Sample, samples_of
from tune_cnn.training.data.sources.packed.kept import Kept, Packing
from tune_cnn.training.data.sources.packed.packing import Packed, pack
from tune_cnn.training.data.sources.source import PARTS, SAMPLE, Chunk, Classes, PartName
from tune_cnn.training.data.sources.tables.columns import class_names
from tune_cnn.untyped import Untyped


class Shard(Protocol):
    """A tar file on a disk, or elsewhere; picklable."""

    @property
    def part(self) -> PartName: ...

    @property
    def shown(self) -> str:
        """How messages name it."""
        ...

    @property
    def size_bytes(self) -> int:
        """0 where that isn't known."""
        ...

    @property
    def state(self) -> str:
        """Another text once it is another file."""
        ...

    def beginning(self) -> bytes:
        """The first BEGINNING bytes, or all."""
        ...

    def whole(self, scratch: Path, /) -> AbstractContextManager[Path]:
        """A file to be read; where it must be fetched it lies in that folder, and goes again."""
        ...

    def piece(self, start: int, size: int) -> bytes: ...

    @property
    def at_once(self) -> int:
        """Pieces that are asked for at a time."""
        ...


@dataclass(frozen=True, kw_only=True)
class DiskShard:
    """A file of this node."""

    path: Path
    part: PartName
    size_bytes: int
    mtime_ns: int
    at_once: int = 1

    @property
    def shown(self) -> str:
        return printable(str(self.path))

    @property
    def state(self) -> str:
        return f"{self.path}|{self.size_bytes}|{self.mtime_ns}"

    def beginning(self) -> bytes:
        return self.piece(0, BEGINNING)

    def whole(self, _scratch: Path, /) -> AbstractContextManager[Path]:
        return nullcontext(self.path)

    def piece(self, start: int, size: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                return file.read(size)
        except OSError as error:
            raise DataError(
                f"data: shard {self.shown} can't be read ({error.strerror}); put it there again, or correct its rights"
            ) from error


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What came of one sample."""

    image_chw: Uint8 | None = None  # where it was decoded
    packed: Packed | None = None


@dataclass(frozen=True, kw_only=True)
class ShardSource:
    """Shards that are there; what they hold is told as they are read."""

    name: str
    key: str
    shards: tuple[Shard, ...]
    images: int  # about: of as many as the first shard's beginning has
    side: int
    max_pixels: int
    kept: Kept
    notes: tuple[str, ...]
    classes: tuple[str, ...] = ()

    @property
    def bypass(self) -> str:
        return self.kept.bypass

    @property
    def packing(self) -> Packing | None:
        return self.kept.packing

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (3, self.side, self.side)

    def reader(self, _depth: Depth | None, /) -> Reader | None:
        return None

    def reader_by(self, places: Path, /) -> Reader:
        return ShardReader(places, self.shards, self.side, self.max_pixels)

    def place(self, _row: int, /) -> None:
        return None

    def chunks(self) -> Iterator[Chunk]:
        with TemporaryDirectory() as scratch:
            yield from self.chunks_by(Path(scratch))

    def chunks_by(self, scratch: Path, /) -> Iterator[Chunk]:
        """A shard after the other, each read once; the classes' names come last, with no image."""
        numbers: dict[str, int] = {}  # of the classes, in the order in which they are met
        row = 0
        part: PartName = "train"
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
            for part, number, shard in self._in_order():
                with shard.whole(scratch) as path, path.open("rb") as file:
                    samples = samples_of(path, shard.shown)
                    for start in range(0, len(samples), CHUNK):
                        some = samples[start : start + CHUNK]
                        labels = [numbers.setdefault(sample.label, len(numbers)) for sample in some]
                        contents = [_content(file, sample) for sample in some]
                        seen = self._seen(shard, some, contents, row, threads)
                        yield self._chunk(part, row, labels, seen, some, number)
                        row += len(some)
        yield self._chunk(part, row, [], [], classes=_sorted(tuple(numbers)))

    def _in_order(self) -> Iterator[tuple[PartName, int, Shard]]:
        for part in PARTS:
            for number, shard in enumerate(self.shards):
                if shard.part == part:
                    yield part, number, shard

    def _seen(
        self, shard: Shard, samples: Sequence[Sample], contents: Sequence[bytes], row: int, threads: Executor
    ) -> list[_Seen]:
        """Decoded, or, where they aren't kept, a sample of them decoded and the heads of the others."""
        every = max(1, self.images // SAMPLE)
        places = [f"{shard.shown}: {sample.key}" for sample in samples]
        whole = [not self.bypass or at % every == 0 for at in range(row, row + len(samples))]
        return list(threads.map(self._look, contents, places, whole))

    def _look(self, content: bytes, place: str, whole: bool) -> _Seen:
        if not whole:
            with readable(place), opened(io.BytesIO(content), self.max_pixels):
                return _Seen()
        image_chw = decoded(content, place, self.side, self.max_pixels)
        return _Seen(image_chw=image_chw, packed=pack(image_chw, content, self.packing.kind) if self.packing else None)

    def _chunk(
        self,
        part: PartName,
        row: int,
        labels: Sequence[int],
        seen: Sequence[_Seen],
        samples: Sequence[Sample] = (),
        number: int = 0,
        classes: Classes | None = None,
    ) -> Chunk:
        images = [one.image_chw for one in seen if one.image_chw is not None]
        places = [(number, sample.start, sample.size) for sample in samples]
        listed = "".join(f"{sample.key}|{sample.size}\n" for sample in samples) if self.bypass else ""
        return Chunk(
            part=part,
            labels_n=np.array(labels, np.int64),
            rows_n=np.arange(row, row + len(seen)),
            images_nchw=np.stack(images) if images else np.zeros((0, *self.image_shape), np.uint8),
            identity=listed.encode("utf-8", "surrogateescape"),
            packed=tuple(one.packed for one in seen if one.packed is not None),
            places_n3=np.array(places, np.int64).reshape(-1, 3) if self.bypass else None,
            classes=classes,
        )


def _content(file: io.BufferedReader, sample: Sample) -> bytes:
    file.seek(sample.start)
    return file.read(sample.size)


def _sorted(names: tuple[str, ...]) -> Classes:
    """`names`: by the numbers that stood for them."""
    ordered = class_names(names)
    label_of = {name: label for label, name in enumerate(ordered)}
    return Classes(
        names=tuple(map(printable, ordered)), labels_k=np.array([label_of[name] for name in names], np.int64)
    )


class ShardReader:
    """Images where they lie, one by one: a piece of a shard each; picklable, as it holds the places' path alone."""

    parallel = True

    def __init__(self, places: Path, shards: tuple[Shard, ...], side: int, max_pixels: int) -> None:
        self.places = places
        self.shards = shards
        self.side = side
        self.max_pixels = max_pixels
        self._places_n3: Int64 | None = None

    def __getstate__(self) -> dict[str, Untyped]:
        return {**self.__dict__, "_places_n3": None}

    @property
    def at_once(self) -> int:
        return self.shards[0].at_once

    def image(self, row: int) -> Uint8:
        return self.decoded(row, self.content(row))

    def content(self, row: int) -> bytes:
        shard, start, size = self._place(row)
        return shard.piece(start, size)

    def decoded(self, row: int, content: bytes) -> Uint8:
        shard, start, size = self._place(row)
        place = f"{shard.shown}: the image of bytes {start:,} to {start + size - 1:,}"
        return decoded(content, place, self.side, self.max_pixels)

    def _place(self, row: int) -> tuple[Shard, int, int]:
        if self._places_n3 is None:
            self._places_n3 = np.load(self.places, mmap_mode="r", allow_pickle=False)
        number, start, size = self._places_n3[row].tolist()
        return self.shards[number], start, size
