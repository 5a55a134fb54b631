"""Which files of a folder are images: this decides, each file once, and counts what it leaves out with its reason."""

import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tune_cnn.errors import DataError
from tune_cnn.text import printable
from tune_cnn.training.data.sources.folder_layout import Layout, is_left_behind, listed
from tune_cnn.training.data.sources.source import PARTS, PartName

ENDINGS = frozenset(
    {".apng", ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png"}
    | {".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
SHOWN = 10  # names in a message
SHOWN_EACH = 3  # of one reason


class Why(StrEnum):
    """Why something in the folder is no image to train on."""

    UNUSED = "beside the folders that are used"
    OUTSIDE = "in no class's folder"
    HIDDEN = "hidden, or left behind by a system or a tool"
    ENDING = "no images by their ending"
    AGAIN = "reached already by another path"
    SPECIAL = "pipes, sockets or devices"


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    part: PartName
    path: str  # relative to the root, as the system spells it
    label: int
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where images of one class lie."""

    part: PartName
    label: int
    path: Path


@dataclass(kw_only=True)
class _Search:
    """One pass over a root."""

    root: Path
    left_out: dict[Why, list[str]] = field(default_factory=lambda: defaultdict(list))
    folders: set[tuple[int, int]] = field(default_factory=set)  # entered, by device and inode
    files: set[tuple[int, int]] = field(default_factory=set)
    links: list[_Place] = field(default_factory=list)  # put aside until all that is no link is known

    def leave(self, entry: os.DirEntry[str] | Path, why: Why) -> None:
        path = Path(entry)
        ending = "/" if path.is_dir() and not path.is_symlink() else ""
        self.left_out[why].append(printable(str(path.relative_to(self.root))) + ending)

    def enters(self, folder: Path) -> bool:
        """Whether the folder was not entered yet."""
        return _is_new(folder.stat(), self.folders)


def find_images(layout: Layout) -> tuple[tuple[ImageFile, ...], tuple[str, ...]]:
    """The image files of every part and class, in the order of PARTS and of their paths within; and one line, or
    none, on how many of what is left out. DataError where a part has no images.

    Each file counts once, however many links lead to it, and under its own name rather than a link's.
    """
    search = _Search(root=layout.root)
    for folder in layout.parts.values():
        search.enters(folder)  # a link back to it leads to what is known
    places = [place for part, folder in layout.parts.items() for place in _places(search, layout, part, folder)]
    found = [file for place in places for file in _images_in(search, place)]
    for link in sorted(search.links, key=lambda place: (PARTS.index(place.part), str(place.path))):
        found += _behind(search, link)
    for entry in listed(layout.root):
        if layout.root / entry.name not in layout.parts.values():
            search.leave(entry, Why.HIDDEN if is_left_behind(entry.name) else Why.UNUSED)
    for part, folder in layout.parts.items():
        if not any(file.part == part for file in found):
            raise DataError(_no_images(folder, search.left_out))
    found.sort(key=lambda file: (PARTS.index(file.part), file.label, file.path))
    return tuple(found), (*layout.notes, *_told(search.left_out))


def _places(search: _Search, layout: Layout, part: PartName, folder: Path) -> Iterator[_Place]:
    """The folder of each class in this part; what else lies there is left out."""
    for entry in listed(folder):
        if is_left_behind(entry.name):
            search.leave(entry, Why.HIDDEN)
        elif not entry.is_dir():
            search.leave(entry, Why.OUTSIDE)
        else:
            yield _Place(part=part, label=layout.label(entry.name, folder), path=Path(entry.path))


def _images_in(search: _Search, place: _Place) -> Iterator[ImageFile]:
    """The files below a folder that no link leads to; links are put aside."""
    if not search.enters(place.path):
        search.leave(place.path, Why.AGAIN)
        return
    for entry in listed(place.path):
        inside = _Place(part=place.part, label=place.label, path=Path(entry.path))
        if is_left_behind(entry.name):
            search.leave(entry, Why.HIDDEN)
        elif entry.is_symlink():
            search.links.append(inside)
        elif entry.is_dir():
            yield from _images_in(search, inside)
        else:
            yield from _image(search, inside)


def _behind(search: _Search, link: _Place) -> Iterator[ImageFile]:
    """What a link leads to, and the links behind it."""
    if not link.path.is_dir():
        yield from _image(search, link)
        return
    if search.root.resolve().is_relative_to(link.path.resolve()):
        search.leave(link.path, Why.AGAIN)
        return
    aside, search.links = search.links, []
    yield from _images_in(search, link)
    further, search.links = search.links, aside
    for one in further:
        yield from _behind(search, one)


def _image(search: _Search, place: _Place) -> Iterator[ImageFile]:
    if place.path.suffix.lower() not in ENDINGS:
        search.leave(place.path, Why.ENDING)
        return
    try:
        found = place.path.stat()
    except OSError:  # a link to nothing, or it is gone: found broken when it is opened
        found = None
    if found is not None and not stat.S_ISREG(found.st_mode):
        search.leave(place.path, Why.SPECIAL)
    elif found is not None and not _is_new(found, search.files):
        search.leave(place.path, Why.AGAIN)
    else:
        yield ImageFile(
            part=place.part,
            path=str(place.path.relative_to(search.root)),
            label=place.label,
            size_bytes=found.st_size if found else 0,
            mtime_ns=found.st_mtime_ns if found else 0,
        )


def _is_new(found: os.stat_result, seen: set[tuple[int, int]]) -> bool:
    """Whether it was not seen yet; it has been from now on. Some file systems know no inodes: all is new there."""
    key = (found.st_dev, found.st_ino)
    if key in seen and found.st_ino:
        return False
    seen.add(key)
    return True


def _told(left_out: dict[Why, list[str]]) -> Iterator[str]:
    """One line: how many of what is left out, and why."""
    reasons = [f"{len(names)} {why} ({some(names, SHOWN_EACH)})" for why in Why if (names := left_out.get(why))]
    if reasons:
        yield f"left out of the folder: {'; '.join(reasons)}"


def _no_images(folder: Path, left_out: dict[Why, list[str]]) -> str:
    within, shown = f"{printable(folder.name)}/", printable(str(folder))
    here = {why: [name for name in names if name.startswith(within)] for why, names in left_out.items()}
    told = "".join(f" ({line})" for line in _told(here))
    return (
        f"data: {shown} has no images{told}; put them into {shown}/<class>/ as JPEG, PNG or another kind that Pillow "
        "reads, or remove the folder"
    )


def some(names: Iterable[str], shown: int = SHOWN) -> str:
    """The first of the names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
