"""Which folder holds which part of the images, and which classes there are: root/<part>/<class>/."""

import difflib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tune_cnn.errors import DataError, nearest
from tune_cnn.text import printable
from tune_cnn.training.data.sources.source import PartName

# The names that the parts' folders have in practice, in whatever case; the first is ours.
PART_NAMES: dict[PartName, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "tests"),
}
KNOWN: dict[str, PartName] = {name: part for part, names in PART_NAMES.items() for name in names}
# Names that some give to the validation images and others to the test images, or to something else.
UNCLEAR = frozenset({"eval", "evaluation", "holdout", "hold_out", "unseen", "heldout"})
# Names that systems and tools leave behind, beside those that begin with a dot.
LEFT_BEHIND = frozenset(
    {"__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found", "system volume information"}
    | {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@recycle", "recycler", "@tmp", "__pycache__", "cvs"}
)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The folders of a root."""

    root: Path
    parts: dict[PartName, Path]  # in the order of PARTS; `train` is there
    names: tuple[str, ...]  # of the classes' folders, as the system spells them
    notes: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that can be shown and stored; the folders keep their own."""
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
    """Look into the root and the training folder; DataError where they hold no classes, or one twice, or where a
    folder seems to hold a part under a name that leaves open which."""
    try:
        entries = listed(root) if root.is_dir() else []
    except OSError as error:  # is_dir() raises where a folder above may not be entered, or the path is too long
        raise DataError(_closed(root, error)) from error
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
    names = _class_names(parts["train"]) if "train" in parts else ()
    if not names or all(name.lower() in KNOWN for name in names):
        raise DataError(_no_classes(root, entries, parts))
    _check_apart(parts)
    others = [entry for entry in _folders(entries) if Path(entry.path) not in parts.values()]
    _check_others(others, parts, names)
    return Layout(root=root, parts=parts, names=names, notes=tuple(_notes(others, parts, names)))


def listed(folder: str | Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name; DataError where it can't be looked into."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(_closed(folder, error)) from error


def _closed(folder: str | Path, error: OSError) -> str:
    return f"data: {printable(str(folder))} can't be looked into: {error.strerror or error}"


def is_left_behind(name: str) -> bool:
    """Hidden, or made by a system or a tool."""
    return name.startswith(".") or name.lower() in LEFT_BEHIND


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one. DataError where a link leads to nothing: a disk that isn't mounted
    would take a class or a part away."""
    if not entry.is_symlink() or reachable(Path(entry.path)):
        return entry.is_dir()
    if is_left_behind(entry.name):
        return False
    raise DataError(nowhere(Path(entry.path)))


def reachable(path: Path) -> bool:
    """Whether there is something, and this user may look at it."""
    try:
        path.stat()
    except OSError:  # a link to nothing, to itself, or to where this user may not look
        return False
    return True


def target(path: Path) -> str:
    """Where a link leads, fit to be shown; empty for what is no link."""
    with suppress(OSError):
        return printable(str(path.readlink()))
    return ""


def nowhere(link: Path) -> str:
    """What is said of a link that can't be followed."""
    return (
        f"data: {printable(str(link))} leads nowhere (it is a link to {target(link)}); mount or fetch what it leads "
        "to, make it readable, or remove the link"
    )


def holds(target: str, inside: str) -> bool:
    """Whether one real path is the other, or above it."""
    return inside == target or inside.startswith(target.rstrip("/") + "/")


def _folders(entries: Iterable[os.DirEntry[str]]) -> list[os.DirEntry[str]]:
    """The folders of a root; DataError where a link that may be meant as a part leads nowhere."""
    return [entry for entry in entries if (_meant(entry.name) or reachable(Path(entry.path))) and is_folder(entry)]


def _composed(name: str) -> str:
    """A name in one spelling: macOS writes é as e and an accent, and others as one character."""
    return unicodedata.normalize("NFC", name)


def leads_back(entry: os.DirEntry[str], folder: str | Path) -> bool:
    """Whether it is a link to the folder that it lies in, or above."""
    return entry.is_symlink() and holds(os.path.realpath(entry.path), os.path.realpath(folder))


def _class_names(train: Path) -> tuple[str, ...]:
    names = tuple(
        entry.name
        for entry in listed(train)
        if not is_left_behind(entry.name) and is_folder(entry) and not leads_back(entry, train)
    )
    within = f"data: two folders in {printable(str(train))} have one name"
    spelled: dict[str, str] = {}
    shown: dict[str, str] = {}
    for name in names:
        if (other := spelled.setdefault(_composed(name), name)) != name:
            raise DataError(
                f"{within}, {printable(name)!r}, in two spellings of Unicode ({other!a} and {name!a}); move their "
                "images together"
            )
        if (other := shown.setdefault(printable(name), name)) != name:
            raise DataError(
                f"{within} when it is shown: {other!a} and {name!a} are both {printable(name)!r}; rename one"
            )
    return names


def _no_classes(root: Path, entries: Sequence[os.DirEntry[str]], parts: dict[PartName, Path]) -> str:
    train = parts.get("train", root / "train")
    shown = printable(str(train))
    folders = [entry for entry in _folders(entries) if not is_left_behind(entry.name)]
    what = f"{shown} is no folder"
    if "train" in parts:
        what = f"{shown} holds the parts themselves" if _class_names(train) else f"{shown} has no subfolders"
    elif not root.is_dir():
        what = f"{printable(str(root))} {'is a file' if root.exists() else 'does not exist'}"
    needed = f"data: image_folder needs {shown}/<class>/<image>, and may have val/ and test/ beside it, but {what}"
    deeper = [entry.path for entry in folders if _holds_train(entry.path)]
    above = [path for path in list(root.parents)[:2] if root.is_dir() and _holds_train(path)]
    if deeper and len(parts) > 1:  # (unpacked into a folder of its own name)
        return f"{needed}; move the classes' folders up, in each part"
    if deeper or above:
        return f"{needed}; set data.root to {printable(str((deeper or above)[0]))}"
    near = [entry.name for entry in folders if "train" not in parts and _meant(entry.name) == "train"]
    if near:
        return f"{needed}; rename {printable(near[0])}/ to train/ if it is meant"
    turned = [
        printable(entry.name)
        for entry in folders
        if any(name.lower() in PART_NAMES["train"] for name in _inside(entry))
    ]
    if turned:
        return f"{needed}; move {turned[0]}/train to {shown}/{turned[0]}, and so on for each class"
    if folders and "train" not in parts:
        return f"{needed}; set data.root to the folder that holds train/, or move the classes' folders into {shown}"
    return f"{needed}; set data.root to the folder that holds train/"


def _inside(folder: os.DirEntry[str]) -> list[str]:
    """Names; none where this user may not look."""
    with suppress(DataError):
        return [entry.name for entry in listed(folder.path)]
    return []


def _holds_train(folder: str | Path) -> bool:
    """Whether the folder looks like a root: train/ with classes."""
    with suppress(DataError, OSError):  # a hint is no reason to fail
        trains = [entry for entry in listed(folder) if entry.name.lower() in PART_NAMES["train"] and entry.is_dir()]
        return any(_class_names(Path(train.path)) for train in trains)
    return False


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
        meant = _meant(entry.name)
        unclear = entry.name.lower() in UNCLEAR
        missing = bool(wanted) if unclear else meant in wanted
        if missing and any(inside in names for inside in _inside(entry)):
            to = " or ".join(f"{name}/" for name in wanted) if unclear else f"{meant}/"
            raise DataError(
                f"data: {printable(entry.path)} has classes of {parts['train'].name}/, but its name doesn't say that "
                f"it is {to}; rename it to {to}, or move it out of {printable(str(parts['train'].parent))}"
            )


def _notes(others: Sequence[os.DirEntry[str]], parts: dict[PartName, Path], names: Sequence[str]) -> Iterator[str]:
    """What may be meant otherwise."""
    there = {PART_NAMES[part][0]: folder.name for part, folder in parts.items()}
    for entry in others:
        meant = _meant(entry.name)
        if meant in there:
            yield f"{printable(entry.name)}/ is not used; move its images into {there[meant]}/ if they are meant"
        elif meant:
            yield f"{printable(entry.name)}/ is not used; rename it if {meant}/ is meant"
    for part, folder in parts.items():
        if folder.name != PART_NAMES[part][0]:
            yield f"the {part} images are those of {folder.name}/"
    cased: dict[str, str] = {}
    for name in names:
        if (other := cased.setdefault(name.casefold(), name)) != name:
            yield f"the classes {printable(other)!r} and {printable(name)!r} differ by their case alone"
        if name.lower() in KNOWN:
            yield f"{name}/ lies in {parts['train'].name}/ and is a class; move it beside if it is meant as a part"


def _meant(name: str) -> str | None:
    """The part whose name this nearly is, or has in it; for a name that leaves open which, one that it may be."""
    if is_left_behind(name):
        return None
    name = name.lower()
    if name in UNCLEAR:
        return "val" if name.startswith("eval") else "test"
    words = [name, *re.split("[^a-z]+", name)]
    exact = [word for word in (*words, *(word.removesuffix("set") for word in words)) if word in KNOWN]
    # A typing error hardly ever hits the first letter: brain/ and latest/ mean something else.
    near = exact or difflib.get_close_matches(name, [one for one in KNOWN if one[0] == name[:1]], n=1, cutoff=0.75)
    return PART_NAMES[KNOWN[near[0]]][0] if near else None
