"""The user's own data: package.module:name, called as f(root) -> train, validation, test."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np

from tune_cnn.errors import DataError
from tune_cnn.spec.calls import find_call, module_name
from tune_cnn.text import printable
from tune_cnn.training.data.sources.depth import Depth
from tune_cnn.training.data.sources.drawn_alike import drawn_alike
from tune_cnn.training.data.sources.origins import order_of
from tune_cnn.training.data.sources.source import PARTS, Chunk, PartName
from tune_cnn.training.data.sources.user_items import Item, UserReader, raised, read_item
from tune_cnn.untyped import Untyped

CHUNK = 256
PROBED = 16  # items a part that are read twice: a mirror at random goes unseen by these once in 65,536 times
LISTED = 10_000  # files under the root that are looked at for changes


@dataclass(frozen=True, kw_only=True)
class UserSource:
    """The data sets that the user's factory made."""

    name: str
    key: str
    drawn: str  # hash of what was looked at of the images and labels, in their order
    datasets: dict[PartName, Untyped]
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    side: int | None
    bypass: str
    notes: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        return sum(len(dataset) for dataset in self.datasets.values())

    def reader(self, _depth: Depth | None, /) -> UserReader:
        return UserReader(self.name, self.datasets, self.side, self.drawn)

    def place(self, _row: int, /) -> None:
        return None

    def chunks(self) -> Iterator[Chunk]:
        row = 0
        for part, dataset in self.datasets.items():
            for start in range(0, len(dataset), CHUNK):
                numbers = range(start, min(start + CHUNK, len(dataset)))
                items = [self._item(part, number) for number in numbers]
                yield Chunk(
                    part=part,
                    labels_n=np.array([item.label for item in items], np.int64),
                    rows_n=np.arange(row, row + len(items)),
                    images_nchw=np.stack([item.image_chw for item in items]),
                )
                row += len(items)

    def _item(self, part: PartName, number: int) -> Item:
        item = read_item(self.name, part, self.datasets[part], number, self.side)
        if item.image_chw.shape != self.image_shape:
            raise DataError(
                f"data {self.name!r}: all images must have one size, got {item.image_chw.shape} at {part}[{number}] "
                f"and {self.image_shape} at train[0]; resize them, or set data.image_size"
            )
        return item


def user_set(name: str, root: Path, side: int | None, seed: int) -> UserSource:
    """Call the factory, look at what it returns, and find out whether its images are the same at every reading.

    What the factory draws from the global generators, such as a split, follows from `seed` in every process alike.
    """
    with drawn_alike(seed):
        datasets = _call(name, find_call(name, where=f"data {name!r}"), root)
    changing = False
    drawn, pixels = hashlib.sha256(f"{[(p, len(d)) for p, d in datasets.items()]}".encode()), hashlib.sha256()
    shape: tuple[int, ...] = ()
    for part, dataset in datasets.items():
        drawn.update(order_of(dataset))
        for number in np.unique(np.linspace(0, len(dataset) - 1, PROBED).astype(int)).tolist():
            first, second = (read_item(name, part, dataset, number, side) for _ in range(2))
            if first.label != second.label:
                raise DataError(
                    f"data {name!r}: the label of {part}[{number}] changes between two readings, "
                    f"from {first.label} to {second.label}"
                )
            shape = shape or first.image_chw.shape
            changing = changing or not np.array_equal(first.image_chw, second.image_chw)
            drawn.update(f"{first.label}|".encode())
            pixels.update(first.image_chw.tobytes())
    drawn.update(b"" if changing else pixels.digest())
    bypass = (
        f"the images of {name} change from one reading to the next, so they aren't cached: the loader `device` "
        "can't be used, and mean and std are of one reading"
    )
    where = _sources(import_module(module_name(name))) + _listing(root)
    channels, height, width = shape
    return UserSource(
        name=name,
        key=hashlib.sha256(f"{name}|{root}|{side}|{changing}".encode() + where + drawn.digest()).hexdigest(),
        drawn=drawn.hexdigest(),
        datasets=datasets,
        image_shape=(channels, height, width),
        classes=_classes(name, datasets["train"]),
        side=side,
        bypass=bypass if changing else "",
    )


def check_repeats(reader: UserReader, root: Path, seed: int) -> None:
    """DataError where another call of the factory gives something else: each process would have a split of its own."""
    name = reader.name
    if user_set(name, root, reader.side, seed).drawn != reader.drawn:
        raise DataError(
            f"data {name!r}: two calls of f({str(root)!r}) give other images or labels, or others in another order, so "
            "each process would train on a split of its own; draw a split from a generator with a seed, as in "
            "random_split(…, generator=torch.Generator().manual_seed(0)), and sort what a folder or a set lists"
        )


def _call(name: str, factory: Untyped, root: Path) -> dict[PartName, Untyped]:
    try:
        made = factory(str(root))
    except Exception as error:  # the user's code may raise anything
        raise raised(name, f"f({str(root)!r})", error) from error
    wanted = "must return (train, validation, test), where validation and test may be None"
    if not isinstance(made, tuple | list):
        raise DataError(f"data {name!r}: {wanted}, got {type(made).__name__}")
    if len(made) != len(PARTS):
        raise DataError(f"data {name!r}: {wanted}, got {len(made)} values")
    datasets = {part: dataset for part, dataset in zip(PARTS, made, strict=True) if dataset is not None}
    if "train" not in datasets:
        raise DataError(f"data {name!r}: {wanted}, got None for train")
    for part, dataset in datasets.items():
        if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
            raise DataError(
                f"data {name!r}: {part} must be a map-style data set with len() and [index], "
                f"got {type(dataset).__name__}"
            )
        if not len(dataset):
            raise DataError(f"data {name!r}: {part} has no images")
    return datasets


def _classes(name: str, train: object) -> tuple[str, ...]:
    """Names from the data set's `classes`, as torchvision's have them; where there are none, labels are counted."""
    classes = getattr(train, "classes", None)
    if classes is None:
        return ()
    if not isinstance(classes, list | tuple) or not all(isinstance(each, str) for each in classes) or not classes:
        raise DataError(f"data {name!r}: train.classes must be a list of names, got {classes!r:.200}")
    return tuple(map(printable, classes))


def _sources(module: ModuleType) -> bytes:
    """Hash of the module's source, and of its whole package's where it stands in one."""
    digest = hashlib.sha256()
    file = getattr(module, "__file__", None)
    if file is None:
        return digest.digest()
    inner = module.__name__.count(".") + (Path(file).name == "__init__.py")
    paths = sorted(Path(file).parents[inner - 1].rglob("*.py")) if inner else [Path(file)]
    for path in paths:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.digest()


def _listing(root: Path) -> bytes:
    """Hash of names, sizes and times of the files under the root, as far as LISTED goes."""
    digest = hashlib.sha256()
    count = 0
    for where, folders, names in os.walk(root):
        folders.sort()
        for file in sorted(names):
            if count == LISTED:
                return digest.digest()
            path = Path(where, file)
            with suppress(OSError):  # a link to nothing, or what this user may not look at: the factory will tell
                stat = path.stat()
                said = f"{path.relative_to(root)}|{stat.st_size}|{stat.st_mtime_ns}\n"
                digest.update(said.encode(errors="surrogateescape"))
                count += 1
    return digest.digest()
