"""Sets of torchvision by the names of their classes, `torchvision:Flowers102`; its readers give Pillow's images."""

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision import datasets

from tune_cnn.errors import DataError, first_line
from tune_cnn.spec import DataSpec
from tune_cnn.text import printable
from tune_cnn.training.data.sources.folder.image_folder import DEFAULT_SIDE
from tune_cnn.training.data.sources.hubs.pictures import Picture, PictureSource, picture_key
from tune_cnn.training.data.sources.hubs.torchvision_table import SETS
from tune_cnn.training.data.sources.origins import order_of
from tune_cnn.training.data.sources.source import PARTS, PartName
from tune_cnn.untyped import Untyped

PROBED = 16  # images of a part that are looked at for their sizes, and for the key of the cache
LARGEST_OWN = 96  # pixels: images that are all square and of one side up to this (STL-10's) stay as they are


def read_set(name: str, data: DataSpec) -> PictureSource:
    """Constructed in each of its parts, downloaded where it may be. DataError where it can't be had."""
    made: dict[PartName, Untyped] = {part: _made(name, SETS[name][part], data) for part in PARTS if part in SETS[name]}
    probes = [_item(name, part, table, row) for part, table in made.items() for row in _spread(len(table))]
    sizes = {image.size for image, _ in probes}
    width, height = next(iter(sizes))
    own = width if len(sizes) == 1 and width == height <= LARGEST_OWN else DEFAULT_SIDE
    seen = hashlib.sha256()
    for image, label in probes:
        seen.update(np.asarray(image).tobytes() + str(label).encode())
    for table in made.values():
        seen.update(order_of(table))
    side = data.image_size or own
    classes = getattr(made["train"], "classes", None) or ()
    return PictureSource(
        name=data.name,
        key=picture_key(data.name, side, [len(table) for table in made.values()], seen.hexdigest()),
        images=sum(map(len, made.values())),
        classes=tuple(printable(str(one)) for one in classes),
        side=side,
        max_pixels=data.max_pixels,
        read={part: _Pictures(name, part, table) for part, table in made.items()},
        notes=(f"parts as {name} has them: {_said(SETS[name])}",),
    )


def _said(parts: Mapping[PartName, Mapping[str, object]]) -> str:
    return ", ".join(
        f"{part} ({', '.join(f'{k}={v!r}' for k, v in given.items()) or 'all'})" for part, given in parts.items()
    )


def _spread(length: int) -> list[int]:
    rows: list[int] = np.unique(np.linspace(0, length - 1, PROBED).astype(int)).tolist() if length else []
    return rows


def _made(name: str, arguments: Mapping[str, object], data: DataSpec) -> Untyped:
    kind = getattr(datasets, name)
    takes_download = "download" in inspect.signature(kind).parameters
    given = {**arguments, **({"download": not data.offline} if takes_download else {})}
    try:
        Path(data.root).mkdir(parents=True, exist_ok=True)
        return kind(data.root, **given)
    except Exception as error:  # torchvision's bare RuntimeError, urllib's, the file system's, a reader's
        forbidden = ", and data.offline forbids the download" if data.offline and takes_download else ""
        raise DataError(
            f"data: torchvision's {name} can't be had in {printable(data.root)}{forbidden} ({type(error).__name__}: "
            f"{printable(first_line(error))}); put its files there as torchvision lays them out"
        ) from error


def _item(name: str, part: str, table: Untyped, row: int) -> tuple[Image.Image, int]:
    try:
        image, label = table[row]
        number = int(label)
    except Exception as error:  # a reader's, Pillow's
        raise DataError(
            f"data: {part}[{row}] of torchvision's {name} can't be read ({type(error).__name__}: "
            f"{printable(first_line(error))}); delete its files, and fetch them again"
        ) from error
    return image, number


class _Pictures:
    """Called anew for each reading."""

    def __init__(self, name: str, part: PartName, table: Untyped) -> None:
        self._name, self._part, self._table = name, part, table

    def __call__(self) -> Iterator[Callable[[], Picture]]:
        return (partial(self._picture, row) for row in range(len(self._table)))

    def _picture(self, row: int) -> Picture:
        """By whichever thread: torchvision's sets for classification read a file of their own each, or an array."""
        image, label = _item(self._name, self._part, self._table, row)
        return Picture(content=image, label=label, place=f"{self._part}[{row}] of torchvision's {self._name}")
