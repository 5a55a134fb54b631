"""Which folder holds which part of the images, and which classes there are: root/<part>/<class>/, or root/<class>/."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tune_cnn.errors import DataError, nearest
from tune_cnn.text import printable
from tune_cnn.training.data.sources.folder.class_names import class_names, composed
from tune_cnn.training.data.sources.folder.entries import closed, holds, is_folder, listed, names_inside
from tune_cnn.training.data.sources.folder.no_classes import elsewhere, folders_of, no_classes
from tune_cnn.training.data.sources.folder.part_names import KNOWN, PART_NAMES, UNCLEAR, meant_part
from tune_cnn.training.data.sources.folder.root_classes import find_root_classes
from tune_cnn.training.data.sources.source import PartName


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The folders of a root."""

    root: Path
    parts: dict[PartName, Path]  # in the order of PARTS; `train` is there, and is the root where the classes lie in it
    names: tuple[str, ...]  # of the classes' folders, as the system spells them
    others: tuple[str, ...] = ()  # folders beside the classes that are none, where these lie in the root
    notes: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that can be shown and stored; the folders keep their own."""
        return tuple(printable(name) for name in self.names)

    @property
    def is_flat(self) -> bool:
        """Whether the classes lie right in the root, and all images are for training."""
        return self.parts["train"] == self.root

    def path(self, folder: Path, name: str) -> str:
        """Of what lies in a part's folder, from the root on."""
        return name if folder == self.root else f"{folder.name}/{name}"

    def label(self, name: str, folder: Path) -> int:
        """Of a class's folder in a part's; DataError where the training images have no such class."""
        labels = {composed(known): label for label, known in enumerate(self.names)}
        label = labels.get(composed(name))
        if label is None:
            raise DataError(
                f"data: {printable(str(folder))} has a class {printable(name)!r} that {self.parts['train'].name}/ "
                f"doesn't have{nearest(printable(name), self.classes)}"
            )
        return label


def find_layout(root: Path) -> Layout:
    """Look into the root and the training folder; DataError where they hold no classes, or one twice, or where a
    folder seems to hold a part under a name that leaves open which."""
    try:
        entries = listed(root) if root.is_dir() else []
    except OSError as error:  # is_dir() raises where a folder above may not be entered, or the path is too long
        raise DataError(closed(root, error)) from error
    parts = _parts(root, entries)
    if "train" not in parts:
        return _without_train(root, entries)
    names = class_names(parts["train"])
    if not names or all(name.lower() in KNOWN for name in names):
        raise DataError(no_classes(root, entries, parts["train"]))
    _check_apart(parts)
    others = [entry for entry in folders_of(entries) if Path(entry.path) not in parts.values()]
    _check_others(others, parts, names)
    return Layout(root=root, parts=parts, names=names, notes=tuple(_notes(others, parts, names)))


def _parts(root: Path, entries: Sequence[os.DirEntry[str]]) -> dict[PartName, Path]:
    """The folders of parts that there are; DataError where two are for one."""
    parts: dict[PartName, Path] = {}
    for part, known in PART_NAMES.items():
        there = [entry for entry in entries if entry.name.lower() in known and is_folder(entry)]
        if len(there) > 1:
            raise DataError(
                f"data: {printable(str(root))} has {' and '.join(f'{entry.name}/' for entry in there)}, and one folder "
                f"may hold the {part} images; rename the other, or move it away"
            )
        if there:
            parts[part] = Path(there[0].path)
    return parts


def _without_train(root: Path, entries: Sequence[os.DirEntry[str]]) -> Layout:
    """The classes right in the root; DataError where they may lie elsewhere, or a folder may be meant as a part."""
    if told := elsewhere(root, entries):
        raise DataError(told)
    found = find_root_classes(root)
    number, folders = len(found.names), len(found.names) + len(found.others)
    classes = f"{number} of the {folders}" if found.others else f"the {number}"
    note = (
        f"there is no train/: {classes} folders of {printable(str(root))} are its classes, and images for validation "
        "and test are held out of them (data.validation, data.test)"
    )
    return Layout(
        root=root,
        parts={"train": root},
        names=found.names,
        others=found.others,
        notes=(note, *_alike(found.names)),
    )


def _check_apart(parts: dict[PartName, Path]) -> None:
    """DataError where one part's folder is another's, or lies in it: what is trained on would be measured with."""
    real = {folder: os.path.realpath(folder) for folder in parts.values()}
    for one, path in real.items():
        for other, above in real.items():
            if one != other and holds(above, path):
                raise DataError(
                    f"data: {printable(str(one))} leads into {printable(str(other))}, and no image may be in two "
                    "parts; remove the link, and a share is held out by data.validation and data.test"
                )


def _check_others(others: Sequence[os.DirEntry[str]], parts: dict[PartName, Path], names: Sequence[str]) -> None:
    """DataError where a folder that isn't used has the classes of a part that isn't there: which, is not for us to
    guess."""
    wanted = [PART_NAMES[part][0] for part in PART_NAMES if part not in parts]
    for entry in others:
        meant = meant_part(entry.name)
        unclear = entry.name.lower() in UNCLEAR
        missing = bool(wanted) if unclear else meant in wanted
        if missing and any(inside in names for inside in names_inside(entry)):
            to = " or ".join(f"{name}/" for name in wanted) if unclear else f"{meant}/"
            raise DataError(
                f"data: {printable(entry.path)} has classes of {parts['train'].name}/, but its name doesn't say that "
                f"it is {to}; rename it to {to}, or move it out of {printable(str(parts['train'].parent))}"
            )


def _notes(others: Sequence[os.DirEntry[str]], parts: dict[PartName, Path], names: Sequence[str]) -> Iterator[str]:
    """What may be meant otherwise."""
    there = {PART_NAMES[part][0]: folder.name for part, folder in parts.items()}
    for entry in others:
        meant = meant_part(entry.name)
        if meant in there:
            yield f"{printable(entry.name)}/ is not used; move its images into {there[meant]}/ if they are meant"
        elif meant:
            yield f"{printable(entry.name)}/ is not used; rename it if {meant}/ is meant"
    for part, folder in parts.items():
        if folder.name != PART_NAMES[part][0]:
            yield f"the {part} images are those of {folder.name}/"
    yield from _alike(names)
    for name in names:
        if name.lower() in KNOWN:
            yield f"{name}/ lies in {parts['train'].name}/ and is a class; move it beside if it is meant as a part"


def _alike(names: Sequence[str]) -> Iterator[str]:
    """Names of classes that may be one by mistake."""
    cased: dict[str, str] = {}
    for name in names:
        if (other := cased.setdefault(name.casefold(), name)) != name:
            yield f"the classes {printable(other)!r} and {printable(name)!r} differ by their case alone"
