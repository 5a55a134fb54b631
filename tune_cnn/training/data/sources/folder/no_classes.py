"""What is said of a root in which no classes are found, or in which they seem to lie elsewhere; each with a way out."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tune_cnn.errors import DataError
from tune_cnn.text import printable
from tune_cnn.training.data.sources.folder.class_names import class_names
from tune_cnn.training.data.sources.folder.content import Content, content_of, has_own_images, leads_to_folder
from tune_cnn.training.data.sources.folder.entries import is_folder, is_left_behind, leads_somewhere, listed
from tune_cnn.training.data.sources.folder.part_names import KNOWN, PART_NAMES, meant_part
from tune_cnn.training.data.sources.source import PartName

HERE = "set data.root to the folder that holds train/, or the classes' folders"


def needed(root: Path, what: str, train: Path | None = None) -> str:
    """The beginning of each message: what must hold, and what came."""
    return (
        f"data: image_folder needs {printable(str(train or root / 'train'))}/<class>/<image>, and may have val/ and "
        f"test/ beside it, or without train/ {printable(str(root))}/<class>/<image> of two classes or more, but {what}"
    )


def into_train(root: Path) -> str:
    """The way out that is always there: it says what the folders are."""
    return f"move the classes' folders into {printable(str(root / 'train'))}"


def folders_of(entries: Sequence[os.DirEntry[str]]) -> list[os.DirEntry[str]]:
    """The folders of a root; DataError where a link that may be meant as a part leads nowhere."""
    return [entry for entry in entries if (meant_part(entry.name) or leads_somewhere(entry)) and is_folder(entry)]


def no_classes(root: Path, entries: Sequence[os.DirEntry[str]], train: Path) -> str:
    """Of a root whose train/ holds none."""
    what = "holds the parts themselves" if class_names(train) else "has no subfolders"
    begin = needed(root, f"{printable(str(train))} {what}", train)
    folders = _seen(entries)
    deeper = [entry.path for entry in folders if _trains_in(entry.path)]
    if deeper and len({KNOWN[name] for entry in folders if (name := entry.name.lower()) in KNOWN}) > 1:
        return f"{begin}; move the classes' folders up, in each part"  # (unpacked into folders of their own names)
    if there := deeper or _above(root):
        return f"{begin}; set data.root to {printable(str(there[0]))}"
    others = [entry.name for entry in folders if entry.name.lower() not in KNOWN]
    if others and has_own_images(str(train)):
        return (
            f"{begin}; {HERE}; or, where {train.name}/ is a class beside {printable(others[0])}/, move all of them "
            "into a folder train/ elsewhere, and set data.root to the folder that holds it"
        )
    return f"{begin}; {HERE}"


def elsewhere(root: Path, entries: Sequence[os.DirEntry[str]]) -> str:
    """Of a root without train/; empty where its folders may be the classes."""
    if not root.is_dir():
        there = "is a file" if root.exists() else "does not exist"
        return f"{needed(root, f'{printable(str(root))} {there}')}; {HERE}"
    train = printable(str(root / "train"))
    begin = needed(root, f"{train} is no folder")
    inside = {entry: _parts_in(entry) for entry in _seen(entries)}
    if deeper := [entry.path for entry, parts in inside.items() if "train" in parts and _trains_in(entry.path)]:
        return f"{begin}; set data.root to {printable(deeper[0])}"
    if above := _above(root):
        in_a_part = any(name.lower() in KNOWN for name in (root.name, root.parent.name))
        or_else = "" if in_a_part or not inside else f", or {into_train(root)} if they are a set of their own"
        return f"{begin}; set data.root to {printable(str(above[0]))}{or_else}"
    near = {printable(entry.name): part for entry in inside if (part := meant_part(entry.name))}
    for name in (name for name, part in near.items() if part == "train"):
        return f"{begin}; rename {name}/ to train/ if it is meant, or {into_train(root)}"
    for name in (printable(entry.name) for entry, parts in inside.items() if "train" in parts):
        return f"{begin}; move {name}/train to {train}/{name}, and so on for each class"
    for name, part in near.items():
        what = f"{train} is no folder, and {name}/ " + (f"may be meant as {part}/" if name != part else "is there")
        return f"{needed(root, what)}; {into_train(root)}, and {name}/ too if it is a class"
    for name in (printable(entry.name) for entry, parts in inside.items() if parts):
        what = f"{train} is no folder, and {name}/ holds a part's folder"
        return f"{needed(root, what)}; move each part's images into <part>/<class>/ right below data.root"
    return "" if inside else f"{begin}; {HERE}"


def _seen(entries: Sequence[os.DirEntry[str]]) -> list[os.DirEntry[str]]:
    return [entry for entry in folders_of(entries) if not is_left_behind(entry.name)]


def _above(root: Path) -> list[Path]:
    """Folders above that look like the root that was meant."""
    above = list(root.parents)[:2] if root.is_dir() else []
    with suppress(DataError):  # what this user may not look into is no hint
        return [path for path in above if any(content_of(train) is Content.IMAGES for train in _trains_in(path))]
    return []


def _trains_in(folder: str | Path) -> list[str]:
    """The training folders with classes that lie in it: it looks like a root."""
    with suppress(DataError, OSError):  # a hint is no reason to fail
        trains = [entry for entry in listed(folder) if entry.name.lower() in PART_NAMES["train"] and entry.is_dir()]
        return [train.path for train in trains if class_names(Path(train.path))]
    return []


def _parts_in(folder: os.DirEntry[str]) -> set[PartName]:
    """Of which there are folders in it; none where this user may not look."""
    with suppress(DataError):
        named = [entry for entry in listed(folder.path) if entry.name.lower() in KNOWN and leads_to_folder(entry)]
        return {KNOWN[entry.name.lower()] for entry in named}
    return set()
