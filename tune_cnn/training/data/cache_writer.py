"""Writing one entry of the cache: images.npy or images.pack, labels.npy, rows.npy and facts.json, in this order."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TextIO

import numpy as np

from tune_cnn.errors import DataError
from tune_cnn.files import sync_folder
from tune_cnn.training.data.looks import looks_of, nearly_constant
from tune_cnn.training.data.readers import Int64
from tune_cnn.training.data.sources.depth import Depth
from tune_cnn.training.data.sources.packed.file import INDEX, PACK, PackWriter, TooLarge
from tune_cnn.training.data.sources.source import (
    PARTS,
    Chunk,
    Classes,
    InFewFiles,
    PartName,
    Source,
    packing_of,
    places_of,
)
from tune_cnn.training.data.statistics import ChannelSums, channel_sums, image_sums
from tune_cnn.training.progress import PROGRESS
from tune_cnn.untyped import Plain, Untyped

HEADER, IMAGES, LABELS, ROWS = "facts.json", "images.npy", "labels.npy", "rows.npy"
LOOKS = "looks.npy"  # of each image that is kept: its content's number, and whether it is nearly constant
SUMS = "sums.npy"  # of each image that is packed: sums and sums of squares of its channels
PLACES = "places.npy"  # of each image that is read from few files: which of them, its first byte, and how many
VERSION = 3  # of this layout


def checksum(header: dict[str, Plain], *arrays: Int64) -> str:
    """Of everything in an entry but the pixels, which are too many to be read at every start."""
    said = json.dumps({k: v for k, v in header.items() if k != "checksum"}, sort_keys=True)
    return hashlib.sha256(said.encode() + b"".join(array.tobytes() for array in arrays)).hexdigest()


@dataclass(kw_only=True)
class _Tally:
    """What has been seen of a source so far."""

    labels: list[Int64] = field(default_factory=list)
    rows: list[Int64] = field(default_factory=list)
    lengths: dict[PartName, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    sums: ChannelSums | None = None  # of the training part
    looks: list[Int64] = field(default_factory=list)
    image_sums: list[Int64] = field(default_factory=list)  # of packed images, which aren't at hand again
    depth: Depth | None = None
    places: list[Int64] = field(default_factory=list)  # of images that aren't kept
    classes: Classes | None = None
    sample_constant: tuple[int, int] = (0, 0)  # of the training images that were sampled: nearly constant, and all
    digest: Untyped = field(default_factory=hashlib.sha256)

    def add(self, chunk: Chunk, *, cached: bool) -> None:
        assert list(self.lengths) == [p for p in PARTS if p in self.lengths], "parts come in order"
        PROGRESS.moved()
        self.labels.append(chunk.labels_n)
        self.rows.append(chunk.rows_n)
        self.lengths[chunk.part] = self.lengths.get(chunk.part, 0) + len(chunk.labels_n)
        self.notes.extend(chunk.notes)
        self.digest.update(chunk.identity)
        self.depth = chunk.depth or self.depth
        self.classes = chunk.classes or self.classes
        self.places += [] if chunk.places_n3 is None else [chunk.places_n3]
        if chunk.images_nchw is None or not len(chunk.images_nchw):
            return
        if cached or chunk.identity:  # images that change from reading to reading tell nothing
            self.digest.update(np.ascontiguousarray(chunk.images_nchw))
        if cached:
            self.looks.append(looks_of(chunk.images_nchw))
            self.image_sums += [image_sums(chunk.images_nchw)] if chunk.packed else []
        elif chunk.part == "train":
            blank, sampled = self.sample_constant
            constant_n = nearly_constant(chunk.images_nchw)
            self.sample_constant = (blank + int(constant_n.sum()), sampled + len(constant_n))
            sums = channel_sums(chunk.images_nchw)
            self.sums = sums if self.sums is None else self.sums + sums


def write_entry(folder: Path, source: Source, most_bytes: int | None = None) -> None:
    """Decode the source into the folder; it counts only once it is renamed.

    most_bytes: of the images, whose size not every source knows before; TooLarge where they take more.
    """
    cached, packed = not source.bypass, packing_of(source) is not None
    tally = _Tally()
    if packed:
        with (folder / PACK).open("wb") as file:
            _write_pack(folder, file, source, tally, most_bytes)
            _sync(file)
    elif cached:
        with (folder / IMAGES).open("wb") as file:
            _write_images(folder, file, source, tally, most_bytes)
            _sync(file)
    else:
        for chunk in _chunks(source, folder):
            tally.add(chunk, cached=False)
    if not tally.labels or not sum(tally.lengths.values()):
        raise DataError(f"data: {source.name} has no images")
    labels_n, rows_n = np.concatenate(tally.labels), np.concatenate(tally.rows)
    if tally.classes is not None:
        labels_n = tally.classes.labels_k[labels_n]
    looks_n2 = np.concatenate(tally.looks) if tally.looks else np.zeros((0, 2), np.int64)
    for name, array in ((LABELS, labels_n), (ROWS, rows_n), (LOOKS, looks_n2)):
        _write_array(folder / name, array)
    if packed:
        _write_array(folder / SUMS, np.concatenate(tally.image_sums))
    if places_of(source):
        _write_array(folder / PLACES, np.concatenate(tally.places))
    header = _header(folder, source, tally, labels_n)
    header["checksum"] = checksum(header, labels_n, rows_n, looks_n2)
    with (folder / HEADER).open("w") as text:
        json.dump(header, text, indent=1)
        _sync(text)
    sync_folder(folder)


def _header(folder: Path, source: Source, tally: _Tally, labels_n: Int64) -> dict[str, Plain]:
    parts, start = {}, 0
    for name, length in tally.lengths.items():
        parts[name] = (start, start + length)
        start += length
    learned = tally.classes.names if tally.classes is not None else ()
    classes = source.classes or learned or _numbered(labels_n[slice(*parts.get("train", (0, 0)))])
    # Labels, parts and shape too: the same pixels in another split are another data set.
    tally.digest.update(labels_n.tobytes() + json.dumps([parts, source.image_shape, classes]).encode())
    cached, packing = not source.bypass, packing_of(source)
    tally.digest.update(packing.shown.encode() if packing else b"")  # which may show other pixels, if hardly
    images = PACK if packing else IMAGES
    return {
        "version": VERSION,
        "source": source.key,
        "name": source.name,
        "cached": cached,
        "packed": packing is not None,
        "shape": [start, *source.image_shape],
        "bytes": (folder / images).stat().st_size if cached else 0,
        "parts": {name: list(ends) for name, ends in parts.items()},
        "classes": list(classes),
        "key": tally.digest.hexdigest(),
        "notes": list(tally.notes),
        "sample": [list(values) for values in tally.sums.mean_std()] if tally.sums else None,
        "sample_constant": list(tally.sample_constant),
        "depth": tally.depth.as_plain() if tally.depth else None,
    }


def _numbered(labels_n: Int64) -> tuple[str, ...]:
    """Names for classes without any, from the training labels: 0 up to the largest."""
    largest = int(labels_n.max(initial=-1))
    if largest >= len(labels_n) > 0:
        raise DataError(
            f"data: labels must be numbered from 0 without gaps, got {largest} as a label among {len(labels_n)} "
            "training images"
        )
    return tuple(str(label) for label in range(largest + 1))


def _chunks(source: Source, folder: Path) -> Iterator[Chunk]:
    return source.chunks_by(folder) if isinstance(source, InFewFiles) else source.chunks()


def _write_images(folder: Path, file: BinaryIO, source: Source, tally: _Tally, most_bytes: int | None) -> None:
    """In numpy's format. How many images there are is known only at the end, so its header is written again then.

    By write() rather than through a map: a full disk is then an error, not a signal that kills the process.
    """
    length = _write_npy_header(file, (source.images, *source.image_shape))
    count = 0
    for chunk in _chunks(source, folder):
        assert chunk.images_nchw is not None and len(chunk.images_nchw) == len(chunk.labels_n)
        assert chunk.images_nchw.dtype == np.uint8 and chunk.images_nchw.shape[1:] == source.image_shape
        file.write(np.ascontiguousarray(chunk.images_nchw).data)
        count += len(chunk.images_nchw)
        tally.add(chunk, cached=True)
        if most_bytes is not None and file.tell() - length > most_bytes:
            raise TooLarge(file.tell() - length)
    file.seek(0)
    # numpy leaves room in the header for the first dimension to change.
    assert _write_npy_header(file, (count, *source.image_shape)) == length


def _write_pack(folder: Path, file: BinaryIO, source: Source, tally: _Tally, most_bytes: int | None) -> None:
    pack = PackWriter(file, most_bytes)
    for chunk in _chunks(source, folder):
        assert len(chunk.packed) == len(chunk.labels_n)
        pack.add(chunk.packed)
        tally.add(chunk, cached=True)
    _write_array(folder / INDEX, pack.index())


def _write_array(path: Path, array: Int64) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
        _sync(file)


def _write_npy_header(file: BinaryIO, shape: tuple[int, ...]) -> int:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.tell()


def _sync(file: BinaryIO | TextIO) -> None:
    file.flush()
    os.fsync(file.fileno())
