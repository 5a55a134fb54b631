"""Which files of a folder are images: this decides, each file once, and counts what it leaves out with its reason."""

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from tune_cnn.errors import DataError
from tune_cnn.text import printable
from tune_cnn.training.data.sources.folder.endings import IMAGE_ENDINGS, ending
from tune_cnn.training.data.sources.folder.entries import (
    holds,
    is_folder,
    is_left_behind,
    leads_back,
    listed,
    nowhere,
    reachable,
    target,
)
from tune_cnn.training.data.sources.folder.layout import Layout
from tune_cnn.training.data.sources.folder.root_classes import check_no_parts_below
from tune_cnn.training.data.sources.source import PARTS, PartName

SHOWN = 10  # names in a message
SHOWN_EACH = 3  # of one reason
MOST_IN_TWO_CLASSES = 0.05  # of the files; one may, as no share of a small set is less


class Why(StrEnum):
    """Why something in the folder is no image to train on."""

    UNUSED = "beside the folders that are used"
    NO_CLASS = "folders without images that are no classes"
    OUTSIDE = "in no class's folder"
    HIDDEN = "hidden, or left behind by a system or a tool"
    ENDING = "no images by their ending"
    AGAIN = "reached already by another path"
    OTHER_CLASS = "of another class already, by a link"
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
    """Where something of one class lies."""

    part: PartName
    label: int
    path: str  # relative to the root
    linked: bool = False  # by a link below the class's folder


Identity = tuple[int, int, int, int]


@dataclass(kw_only=True)
class _Search:
    """One pass over a root."""

    root: Path
    known: list[str]  # real paths of the root, the parts and the classes: a link to one or above leads back
    left_out: dict[Why, list[str]] = field(default_factory=lambda: defaultdict(list))
    seen: dict[Identity, _Place] = field(default_factory=dict)  # files, and folders that were entered
    links: list[_Place] = field(default_factory=list)  # put aside until all that is no link is known

    def at(self, path: str) -> Path:
        return self.root / path

    def leave(self, path: str, why: Why) -> None:
        self.left_out[why].append(path)

    def first(self, place: _Place, found: os.stat_result) -> _Place | None:
        """Where it was seen before; None where it is new, and it is known from now on."""
        known = self.seen.setdefault(_identity(found), place)
        return None if known is place else known


def find_images(layout: Layout) -> tuple[tuple[ImageFile, ...], tuple[str, ...]]:
    """The image files of every part and class, in the order of PARTS, of the classes, and of their paths within; and
    notes: one line, or none, on how many of what is left out. DataError where a part, or a class in training, has none.

    Each file counts once, however many links lead to it, and under its own name rather than a link's. Paths are as
    the system spells them, so that they can be opened; whatever is said of them is `printable`.
    """
    folders = list(layout.parts.values())
    search = _Search(root=layout.root, known=[os.path.realpath(folder) for folder in (layout.root, *folders)])
    places = [place for part in layout.parts for place in _places(search, layout, part)]
    search.known += [os.path.realpath(search.at(place.path)) for place in places]
    own_first = sorted(places, key=lambda place: search.at(place.path).is_symlink())
    found = [file for place in own_first for file in _images_in(search, place)]
    search.links.sort(key=lambda link: (PARTS.index(link.part), link.path), reverse=True)
    while search.links:
        found += _behind(search, search.links.pop())
    for entry in [] if layout.is_flat else listed(layout.root):
        if Path(entry.path) not in folders:
            search.leave(_named(entry, entry.name), Why.HIDDEN if is_left_behind(entry.name) else Why.UNUSED)
    _check_found(layout, places, found, search.left_out)
    found.sort(key=lambda file: (PARTS.index(file.part), file.label, file.path))
    notes = (*_without(layout, found), *_deep(layout, found), *_told(layout.root, search.left_out))
    return tuple(found), (*layout.notes, *notes)


def _places(search: _Search, layout: Layout, part: PartName) -> Iterator[_Place]:
    """The folder of each class in this part; what else lies there is left out."""
    folder = layout.parts[part]
    for entry in listed(folder):
        path = layout.path(folder, entry.name)
        if is_left_behind(entry.name):
            search.leave(_named(entry, path), Why.HIDDEN)
        elif not is_folder(entry):
            search.leave(path, Why.OUTSIDE)
        elif leads_back(entry, folder):
            search.leave(path, Why.AGAIN)
        elif entry.name in layout.others:
            search.leave(f"{path}/", Why.NO_CLASS)
        else:
            yield _Place(part=part, label=layout.label(entry.name, folder), path=path)


def _images_in(search: _Search, place: _Place) -> Iterator[ImageFile]:
    """The files below a folder that no link leads to; links are put aside."""
    waiting = [place]
    while waiting:
        folder = waiting.pop()
        if not _enters(search, folder):
            continue
        for entry in listed(search.at(folder.path)):
            inside = replace(folder, path=f"{folder.path}/{entry.name}")
            if is_left_behind(entry.name):
                search.leave(_named(entry, inside.path), Why.HIDDEN)
            elif entry.is_symlink():
                search.links.append(replace(inside, linked=True))
            elif entry.is_dir():
                waiting.append(inside)
            else:
                yield from _image(search, inside, entry.stat)


def _enters(search: _Search, folder: _Place) -> bool:
    """Whether the folder was not entered yet; DataError where two classes claim it by links."""
    try:
        first = search.first(folder, search.at(folder.path).stat())
    except OSError as error:
        raise DataError(
            f"data: {printable(str(search.at(folder.path)))} can't be looked into: {error.strerror or error}"
        ) from error
    if first is None:
        return True
    if first.linked and folder.linked and first.label != folder.label:
        raise DataError(
            f"data: {printable(first.path)} and {printable(folder.path)} in {printable(str(search.root))} lead to one "
            "folder, and its images can't be of two classes; remove one of the links"
        )
    search.leave(folder.path, Why.AGAIN)
    return False


def _behind(search: _Search, link: _Place) -> Iterator[ImageFile]:
    """What a link leads to; further links behind it are put aside in their turn."""
    path = search.at(link.path)
    if not ending(link.path) and not reachable(path):
        raise DataError(nowhere(path))
    if not os.path.isdir(path):  # noqa: PTH112 - of what may not be looked at Path.is_dir() raises, and it is no folder
        yield from _image(search, link, path.stat)
        return
    real = os.path.realpath(path)
    if any(holds(real, known) for known in (*search.known, os.path.realpath(path.parent))):
        search.leave(link.path, Why.AGAIN)
    else:
        yield from _images_in(search, link)


def _image(search: _Search, place: _Place, look: Callable[[], os.stat_result]) -> Iterator[ImageFile]:
    if ending(place.path) not in IMAGE_ENDINGS:
        search.leave(place.path, Why.ENDING)
        return
    try:
        found = look()
    except OSError:  # a link to nothing, or it is gone: told when it is opened
        yield ImageFile(part=place.part, path=place.path, label=place.label, size_bytes=0, mtime_ns=0)
        return
    if not stat.S_ISREG(found.st_mode):
        search.leave(place.path, Why.SPECIAL)
    elif first := search.first(place, found):
        other = first.label != place.label and first.linked == place.linked
        search.left_out[Why.OTHER_CLASS if other else Why.AGAIN].append(f"{place.path} is {first.path}")
    else:
        yield ImageFile(
            part=place.part,
            path=place.path,
            label=place.label,
            size_bytes=found.st_size,
            mtime_ns=found.st_mtime_ns,
        )


def _identity(found: os.stat_result) -> Identity:
    """What tells files apart. Inodes alone don't: some network file systems give the same to many."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _named(entry: os.DirEntry[str], path: str) -> str:
    return f"{path}/" if entry.is_dir(follow_symlinks=False) else path


def _check_found(
    layout: Layout, places: Iterable[_Place], found: Collection[ImageFile], left_out: Mapping[Why, list[str]]
) -> None:
    """DataError where a part or a class in training has no images, or many are of two classes."""
    parts = {file.part for file in found}
    trained = {file.label for file in found if file.part == "train"}
    empty = [] if layout.is_flat else [folder.name for part, folder in layout.parts.items() if part not in parts]
    empty += [place.path for place in places if place.part == "train" and place.label not in trained]
    if empty:
        raise DataError(_no_images(layout, empty[0], left_out))
    if layout.is_flat:
        check_no_parts_below(layout.root, (file.path for file in found))
    twice = left_out.get(Why.OTHER_CLASS, [])
    if len(twice) > max(1, MOST_IN_TWO_CLASSES * len(found)):
        raise DataError(
            f"data: {len(twice)} files in {printable(str(layout.root))} are of two classes, by links: "
            f"{some(twice)}; an image has one class: remove the other links"
        )


def _without(layout: Layout, found: Iterable[ImageFile]) -> Iterator[str]:
    """Classes that a part has no images of."""
    there = {(file.part, file.label) for file in found}
    for part, folder in layout.parts.items():
        names = [repr(name) for label, name in enumerate(layout.classes) if (part, label) not in there]
        if names:
            yield f"{folder.name}/ has no images of {some(names)}"


def _deep(layout: Layout, found: Iterable[ImageFile]) -> Iterator[str]:
    """Images in folders below their class's: the folders might be meant as classes."""
    levels = 1 if layout.is_flat else 2
    deep = [file.path for file in found if file.path.count("/") > levels]
    if deep:
        yield f"{len(deep)} images lie deeper than their class's folder and count for it ({some(deep, SHOWN_EACH)})"


def _told(root: Path, left_out: Mapping[Why, list[str]]) -> Iterator[str]:
    """One line: how many of what is left out, and why."""
    reasons = []
    for why in Why:
        names = left_out.get(why, [])
        shown = [_with_target(root, name) for name in names[:SHOWN_EACH]] + names[SHOWN_EACH:]
        reasons += [f"{len(names)} {why} ({some(shown, SHOWN_EACH)})"] if names else []
    if reasons:
        yield f"left out of the folder: {'; '.join(reasons)}"


def _with_target(root: Path, path: str) -> str:
    """A link, and where it leads."""
    to = target(root / path)
    return f"{path} → {to}" if to else path


def _no_images(layout: Layout, folder: str, left_out: Mapping[Why, list[str]]) -> str:
    here = {why: [name for name in names if f"{name}/".startswith(f"{folder}/")] for why, names in left_out.items()}
    told = "".join(f" ({line})" for line in _told(layout.root, here))
    shown = printable(str(layout.root / folder))
    into = shown if layout.is_flat or "/" in folder else f"{shown}/<class>"
    return (
        f"data: {shown} has no images{told}; put files into {into}/ that end in .jpg, .png or as another kind that "
        "Pillow reads, or remove the folder"
    )


def some(names: Iterable[str], shown: int = SHOWN) -> str:
    """The first of the names, fit to be shown, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(map(printable, names[:shown])) + more
