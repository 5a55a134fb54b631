"""Images decoded once per node, under a key of their content, mapped by every process that wants them."""

import errno
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tune_cnn.errors import DataError
from tune_cnn.files import sync_folder
from tune_cnn.training.data.cache_quota import DISK_GB, hold, make_room, quota_bytes
from tune_cnn.training.data.cache_writer import (
    HEADER,
    IMAGES,
    LABELS,
    LOOKS,
    PLACES,
    ROWS,
    SUMS,
    VERSION,
    checksum,
    write_entry,
)
from tune_cnn.training.data.files import locked
from tune_cnn.training.data.looks import Looks
from tune_cnn.training.data.readers import Int64, open_images
from tune_cnn.training.data.sources.depth import Depth
from tune_cnn.training.data.sources.packed.file import TooLarge, fits
from tune_cnn.training.data.sources.source import PartName, Source, packing_of, places_of
from tune_cnn.untyped import Plain


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A set in the cache. Its images are pixels (`images`) or packed (`sums_nc2`); without either it holds what is
    known of a set that bypasses it."""

    folder: Path
    images: np.memmap[tuple[int, ...], np.dtype[np.uint8]] | None
    labels_n: Int64
    rows_n: Int64  # the source's row of each image
    parts: dict[PartName, tuple[int, int]]  # first row, and the row after the last
    classes: tuple[str, ...]
    key: str
    notes: tuple[str, ...]
    sample: tuple[tuple[float, ...], tuple[float, ...]] | None  # mean and std, where the images aren't kept
    sample_constant: tuple[int, int]  # there, of the training images that were sampled: nearly constant, and all
    looks: Looks | None  # of each image that is kept
    sums_nc2: Int64 | None  # of each image that is packed, as `image_sums` gives them
    depth: Depth | None

    @property
    def path(self) -> Path | None:
        return None if self.images is None else self.folder / IMAGES


def cached(source: Source, cache_dir: Path) -> Entry:
    """The set's entry, decoded now if it isn't there or is damaged; of several processes one decodes, all wait."""
    folder = cache_dir / source.key
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        entry = open_entry(folder, source)
        if entry is not None:
            return entry
        with locked(cache_dir / f"{source.key}.lock"):
            return open_entry(folder, source) or _build(folder, source)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise
        raise DataError(
            f"the cache of decoded images can't be written in {cache_dir} ({error.strerror}); make it a folder that "
            "you may write, or set TUNE_CNN_CACHE to one"
        ) from error


def open_entry(folder: Path, source: Source) -> Entry | None:
    """The entry, or None where it is missing, torn or another's."""
    if folder.is_dir():
        hold(folder)  # before it is read: it may be removed at any moment else
    try:
        header = json.loads((folder / HEADER).read_text())
        labels_n = np.load(folder / LABELS, allow_pickle=False)
        rows_n = np.load(folder / ROWS, allow_pickle=False)
        looks_n2 = np.load(folder / LOOKS, allow_pickle=False)
        packed = bool(header["packed"])
        images = open_images(folder / IMAGES) if header["cached"] and not packed else None
        whole = (
            header["version"] == VERSION
            and header["source"] == source.key
            and header["checksum"] == checksum(header, labels_n, rows_n, looks_n2)
            and header["cached"] is not bool(source.bypass)
            and packed is (packing_of(source) is not None)
            and (images is None or _fits(images, header, folder / IMAGES))
            and (not packed or fits(folder, images=len(labels_n), size_bytes=header["bytes"]))
            and (not places_of(source) or _placed(folder, len(labels_n)))
        )
        if not whole:
            return None
        return Entry(
            folder=folder,
            images=images,
            labels_n=labels_n,
            rows_n=rows_n,
            parts={name: (start, stop) for name, (start, stop) in header["parts"].items()},
            classes=tuple(header["classes"]),
            key=header["key"],
            notes=tuple(header["notes"]),
            sample=_mean_and_std(header["sample"]),
            sample_constant=(header["sample_constant"][0], header["sample_constant"][1]),
            looks=Looks.of(looks_n2) if header["cached"] else None,
            sums_nc2=np.load(folder / SUMS, allow_pickle=False) if packed else None,
            depth=Depth.from_plain(header["depth"]) if header["depth"] else None,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError):
        return None  # missing, cut short, or not ours: whatever it is, it is decoded again


def _mean_and_std(written: list[list[float]] | None) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    if not written:
        return None
    mean, std = written
    return tuple(mean), tuple(std)


def _fits(images: np.memmap[tuple[int, ...], np.dtype[np.uint8]], header: dict[str, Plain], path: Path) -> bool:
    return images.dtype == np.uint8 and list(images.shape) == header["shape"] and path.stat().st_size == header["bytes"]


def _placed(folder: Path, images: int) -> bool:
    return bool(np.load(folder / PLACES, mmap_mode="r", allow_pickle=False).shape == (images, 3))


def _build(folder: Path, source: Source) -> Entry:
    for left in folder.parent.glob(f"{folder.name}.tmp*"):
        shutil.rmtree(left, ignore_errors=True)  # of a process that was killed: nobody else holds the lock
    temporary = folder.with_name(f"{folder.name}.tmp{os.getpid()}")
    try:
        quota = quota_bytes()
        if quota is not None and not source.bypass:
            if packing_of(source) and _needed_bytes(source) > quota:
                raise TooLarge(_needed_bytes(source))
            make_room(folder.parent, _needed_bytes(source), quota)
        temporary.mkdir()
        write_entry(temporary, source, quota)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
        sync_folder(folder.parent)
    except TooLarge as large:
        raise DataError(_no_room(source, large.size_bytes)) from large
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        shutil.rmtree(temporary, ignore_errors=True)
        raise DataError(
            f"the disk under {folder.parent} is full: the decoded images of {source.name} need up to "
            f"{_needed_bytes(source):,} bytes, {shutil.disk_usage(folder.parent).free:,} are free; make room, or set "
            "TUNE_CNN_CACHE to a folder with more"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    entry = open_entry(folder, source)
    assert entry is not None, f"{folder} was written just now"
    return entry


def _needed_bytes(source: Source) -> int:
    """The most that its decoded images take; about, of a packed file."""
    if packing := packing_of(source):
        return packing.needed_bytes
    channels, height, width = source.image_shape
    return source.images * channels * height * width


def _no_room(source: Source, size_bytes: int) -> str:
    packing = packing_of(source)
    kept = f"JPEGs (data.cache: {packing.kind})" if packing else "pixels"
    smaller = {
        "jpeg": "set data.cache: small_jpeg",
        "small_jpeg": "set a smaller data.image_size",
    }.get(packing.kind if packing else "", "set data.cache: jpeg")
    return (
        f"the images of {source.name} take {size_bytes / 1e9:.2g} GB or more as {kept}, "
        f"and the cache may hold {os.environ[DISK_GB]} GB, by {DISK_GB}; raise {DISK_GB}, {smaller}, or set "
        "data.cache: none to read the files each time"
    )
