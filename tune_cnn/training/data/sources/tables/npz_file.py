"""Arrays of images and labels in one file of NumPy's: `npz:FILE`, as MedMNIST and Keras lay them out and others do."""

import hashlib
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.text import printable
from tune_cnn.training.data.readers import Int64, Uint8
from tune_cnn.training.data.sources.arrays import Arrays, ArraySource, array_key
from tune_cnn.training.data.sources.depth import depth_of, extent
from tune_cnn.training.data.sources.source import PARTS, PartName
from tune_cnn.training.data.sources.tables.array_layout import Layout, layout_of
from tune_cnn.training.data.sources.tables.array_names import NamedArrays, name_arrays
from tune_cnn.training.data.sources.tables.columns import class_names
from tune_cnn.untyped import Untyped

Kind = Literal["images", "labels"]


@dataclass(frozen=True, kw_only=True)
class _Head:
    """What an array's header says."""

    shape: tuple[int, ...]
    dtype: np.dtype[Untyped]


def npz_file(data: DataSpec) -> ArraySource:
    """The headers and the labels read; the images wait until the cache asks."""
    path = Path(data.root) / data.name.partition(":")[2]
    heads, content = _heads(path)
    named = name_arrays(printable(str(path)), tuple(heads))
    layout = layout_of({name: heads[name].shape for name in named.images.values()}, where=printable(str(path)))
    labels, classes = _labels(path, named)
    for part, images in named.images.items():
        count, labelled = heads[images].shape[0], len(labels[part])
        if count != labelled:
            raise DataError(
                f"data: {printable(str(path))} has {count} images in {images!r} and {labelled} labels in "
                f"{named.labels[part]!r}; they must be as many"
            )
    side = data.image_size
    channels, height, width = layout.image_shape
    if side is None and len(layout.sizes) > 1:
        raise DataError(
            f"data: the images of {printable(str(path))} must have one size, got {sorted(layout.sizes)}; set "
            "data.image_size"
        )
    return ArraySource(
        name=data.name,
        key=array_key(f"{data.name}|{named}|{layout.order}", side, content),
        images=sum(heads[name].shape[0] for name in named.images.values()),
        image_shape=(channels, side, side) if side else (channels, height, width),
        classes=classes,
        side=side,
        read=partial(_read, path, named, layout, labels),
        notes=(named.note, layout.note, *_scaled(heads[name].dtype for name in named.images.values())),
    )


def _heads(path: Path) -> tuple[dict[str, _Head], bytes]:
    """Of each array by its name, and the checksums that a ZIP keeps of what is in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            heads = {info.filename.removesuffix(".npy"): _head(archive, info) for info in members}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(_unread(path, error)) from error
    listed = "".join(f"{info.filename}|{info.CRC}|{info.file_size}\n" for info in members)
    return heads, hashlib.sha256(listed.encode("utf-8", "surrogateescape")).digest()


def _head(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Head:
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    return _Head(shape=shape, dtype=dtype)


def _unread(path: Path, error: Exception) -> str:
    why = error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
    return (
        f"data: {printable(str(path))} can't be read as arrays of NumPy ({printable(str(why))}); npz:FILE is found "
        "from data.root, or give its whole path; write it by numpy.savez, without objects"
    )


def _array(path: Path, name: str) -> Untyped:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[name]
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(_unread(path, error)) from error


def _labels(path: Path, named: NamedArrays) -> tuple[dict[PartName, Int64], tuple[str, ...]]:
    """Of each part, from 0; and the classes' names where the labels are names."""
    found = {part: _flat(path, name, _array(path, name)) for part, name in named.labels.items()}
    kinds = {labels_n.dtype.kind for labels_n in found.values()}
    if kinds <= set("US"):
        texts = {part: labels_n.astype(str) for part, labels_n in found.items()}
        classes = class_names([name for names in texts.values() for name in names.tolist()])
        numbers = {name: label for label, name in enumerate(classes)}
        numbered = {part: np.array([numbers[name] for name in names], np.int64) for part, names in texts.items()}
        return numbered, tuple(map(printable, classes))
    if not kinds <= set("iu"):
        raise DataError(
            f"data: labels of {printable(str(path))} must be whole numbers or names, got "
            f"{', '.join(sorted(str(labels_n.dtype) for labels_n in found.values()))}"
        )
    return {part: labels_n.astype(np.int64) for part, labels_n in found.items()}, ()


def _flat(path: Path, name: str, labels: Untyped) -> Untyped:
    if labels.ndim == 2 and labels.shape[1] == 1:  # as MedMNIST writes them
        return labels[:, 0]
    if labels.ndim != 1:
        raise DataError(
            f"data: {name!r} of {printable(str(path))} must hold a label an image, got the shape {labels.shape}; "
            "several classes an image can't be trained on, and of one-hot rows take argmax(axis=1)"
        )
    return labels


def _scaled(dtypes: Iterable[np.dtype[Untyped]]) -> list[str]:
    others = sorted({str(dtype) for dtype in dtypes} - {"uint8"})
    return [f"pixels are {' and '.join(others)}, and are brought to 8 bits by one range for all"] if others else []


def _read(path: Path, named: NamedArrays, layout: Layout, labels: Mapping[PartName, Int64]) -> Arrays:
    raw = {part: _array(path, named.images[part]) for part in PARTS if part in named.images}
    pixels = _to_8_bits(path, raw)
    return {part: (layout.nchw(images), labels[part]) for part, images in pixels.items()}


def _to_8_bits(path: Path, raw: Mapping[PartName, Untyped]) -> dict[PartName, Uint8]:
    if all(images.dtype == np.uint8 for images in raw.values()):
        return dict(raw)
    if any(images.dtype.kind not in "biuf" for images in raw.values()):
        raise DataError(
            f"data: images of {printable(str(path))} must be numbers, got {[str(i.dtype) for i in raw.values()]}"
        )
    numbers = {
        part: images.astype(np.uint8) * 255 if images.dtype.kind == "b" else images for part, images in raw.items()
    }
    try:
        extents = [extent(images) for images in numbers.values()]
    except ValueError as error:
        raise DataError(f"data: images of {printable(str(path))}: {error}") from error
    whole_range = depth_of(extents)
    return {part: whole_range.to_8_bits(images) for part, images in numbers.items()}
