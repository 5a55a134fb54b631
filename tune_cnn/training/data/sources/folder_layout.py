"""Which folder holds which part of the images, and which classes there are: root/<part>/<class>/."""

import difflib
import os
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tune_cnn.errors import DataError, nearest
from tune_cnn.text import printable
from tune_cnn.training.data.sources.source import PartName

# The names that the parts' folders have in practice, in whatever case; the first is ours.
PART_NAMES: dict[PartName, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
# Names that some give to a part and others to something else: not used, but told of.
MAYBE = {"dev": "val", "eval": "val", "evaluation": "val", "holdout": "test", "unseen": "test"}
# Folders that systems and tools leave behind, beside those whose names begin with a dot.
LEFT_BEHIND = frozenset({"__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found", "system volume information"})


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The folders of a root."""

    root: Path
    parts: dict[PartName, Path]  # in the order of PARTS; `train` is there
    names: tuple[str, ...]  # of the classes' folders, as the system spells them
    notes: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that can be shown and stored."""
        return tuple(printable(name) for name in self.names)

    def label(self, name: str, folder: Path) -> int:
        """Of a class's folder in a part's; DataError where the training images have no such class."""
        labels = {_composed(known): label for label, known in enumerate(self.names)}
        label = labels.get(_composed(name))
        if label is None:
            raise DataError(
                f"data: {printable(str(folder))} has a class {printable(name)!r} that {self.parts['train'].name}/ "
                f"doesn't have{nearest(printable(name), self.classes)}"
            )
        return label


def find_layout(root: Path) -> Layout:
    """Look into the root and the training folder; DataError where they hold no classes, or one twice."""
    entries = listed(root) if root.is_dir() else []
    parts: dict[PartName, Path] = {}
    for part, known in PART_NAMES.items():
        there = [entry for entry in entries if entry.name.lower() in known and entry.is_dir()]
        if len(there) > 1:
            raise DataError(
                f"data: {root} has {' and '.join(f'{entry.name}/' for entry in there)}, and one folder may hold the "
                f"{part} images; rename the other, or move it away"
            )
        if there:
            parts[part] = Path(there[0].path)
    names = _class_names(parts["train"]) if "train" in parts else ()
    if not names:
        raise DataError(_no_classes(root, entries, parts))
    return Layout(root=root, parts=parts, names=names, notes=tuple(_notes(entries, parts, names)))


def listed(folder: str | Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name; DataError where it can't be looked into."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"data: {printable(str(folder))} can't be looked into: {error.strerror or error}") from error


def is_left_behind(name: str) -> bool:
    """Hidden, or made by a system or a tool."""
    return name.startswith(".") or name.lower() in LEFT_BEHIND


def _composed(name: str) -> str:
    """A name in one spelling: macOS writes é as e and an accent, and others as one character."""
    return unicodedata.normalize("NFC", name)


def _class_names(train: Path) -> tuple[str, ...]:
    names = tuple(entry.name for entry in listed(train) if entry.is_dir() and not is_left_behind(entry.name))
    spelled: dict[str, str] = {}
    for name in names:
        if (other := spelled.setdefault(_composed(name), name)) != name:
            raise DataError(
                f"data: two folders in {printable(str(train))} have one name, {printable(name)!r}, in two spellings of "
                f"Unicode ({other!a} and {name!a}); move their images together"
            )
    return names


def _no_classes(root: Path, entries: Sequence[os.DirEntry[str]], parts: dict[PartName, Path]) -> str:
    train = parts.get("train", root / "train")
    what = "has no subfolders" if "train" in parts else "is no folder"
    needed = (
        f"data: image_folder needs {train}/<class>/<image>, and may have val/ and test/ beside it, but {train} {what}"
    )
    folders = [entry for entry in entries if entry.is_dir() and not is_left_behind(entry.name)]
    deeper = [entry.path for entry in folders if _holds_train(entry.path)]
    if deeper:
        return f"{needed}; set data.root to {printable(deeper[0])}"
    if root.name.lower() in PART_NAMES["train"] and folders:
        return f"{needed}; set data.root to {root.parent}"
    if folders and "train" not in parts:
        return f"{needed}; set data.root to the folder that holds train/, or move the classes' folders into {train}"
    return f"{needed}; set data.root to the folder that holds train/"


def _holds_train(folder: str) -> bool:
    with suppress(DataError):  # a hint is no reason to fail
        return any(entry.name.lower() in PART_NAMES["train"] and entry.is_dir() for entry in listed(folder))
    return False


def _notes(entries: Sequence[os.DirEntry[str]], parts: dict[PartName, Path], names: Sequence[str]) -> Iterator[str]:
    """What may be meant otherwise."""
    for entry in entries:
        meant = _meant(entry.name.lower())
        if meant and entry.is_dir() and Path(entry.path) not in parts.values():
            yield f"{printable(entry.name)}/ is not used; rename it if {meant}/ is meant"
    for part, folder in parts.items():
        if folder.name != PART_NAMES[part][0]:
            yield f"the {part} images are those of {printable(folder.name)}/"
    cased: dict[str, str] = {}
    for name in names:
        if (other := cased.setdefault(name.casefold(), name)) != name:
            yield f"the classes {printable(other)!r} and {printable(name)!r} differ by their case alone"


def _meant(name: str) -> str | None:
    """The part whose name this nearly is."""
    known = {one: names[0] for names in PART_NAMES.values() for one in names}
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return MAYBE.get(name) or (known[near[0]] if near else None)
