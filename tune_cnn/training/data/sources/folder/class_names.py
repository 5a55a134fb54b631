"""The names of the classes in a folder, each once however it is spelled."""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from tune_cnn.errors import DataError
from tune_cnn.text import printable
from tune_cnn.training.data.sources.folder.entries import is_folder, is_left_behind, leads_back, listed


def composed(name: str) -> str:
    """A name in one spelling: macOS writes é as e and an accent, and others as one character."""
    return unicodedata.normalize("NFC", name)


def class_folders(folder: Path) -> list[os.DirEntry[str]]:
    """The folders in it that may be classes, by name; DataError where a link leads nowhere."""
    return [
        entry
        for entry in listed(folder)
        if not is_left_behind(entry.name) and is_folder(entry) and not leads_back(entry, folder)
    ]


def class_names(folder: Path) -> tuple[str, ...]:
    """Of a part's folder."""
    return each_once(folder, (entry.name for entry in class_folders(folder)))


def each_once(folder: Path, classes: Iterable[str]) -> tuple[str, ...]:
    """The names as they are; DataError where two are one."""
    names = tuple(classes)
    within = f"data: two folders in {printable(str(folder))} have one name"
    spelled: dict[str, str] = {}
    shown: dict[str, str] = {}
    for name in names:
        if (other := spelled.setdefault(composed(name), name)) != name:
            raise DataError(
                f"{within}, {printable(name)!r}, in two spellings of Unicode ({other!a} and {name!a}); move their "
                "images together"
            )
        if (other := shown.setdefault(printable(name), name)) != name:
            raise DataError(
                f"{within} when it is shown: {other!a} and {name!a} are both {printable(name)!r}; rename one"
            )
    return names
