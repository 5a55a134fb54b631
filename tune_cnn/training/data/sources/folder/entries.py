"""What lies in a folder, as the system lists it: what is a folder, where links lead, what a system left behind."""

import os
from contextlib import suppress
from pathlib import Path

from tune_cnn.errors import DataError
from tune_cnn.text import printable

# Names that systems and tools leave behind, beside those that begin with a dot.
LEFT_BEHIND = frozenset(
    {"__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found", "system volume information"}
    | {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@recycle", "recycler", "@tmp", "__pycache__", "cvs"}
)


def listed(folder: str | Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name; DataError where it can't be looked into."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(closed(folder, error)) from error


def closed(folder: str | Path, error: OSError) -> str:
    """What is said of a folder that this user may not look into."""
    return f"data: {printable(str(folder))} can't be looked into: {error.strerror or error}"


def is_left_behind(name: str) -> bool:
    """Hidden, or made by a system or a tool."""
    return name.startswith(".") or name.lower() in LEFT_BEHIND


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one. DataError where a link leads to nothing: a disk that isn't mounted
    would take a class or a part away."""
    if leads_somewhere(entry):
        return entry.is_dir()
    if is_left_behind(entry.name):
        return False
    raise DataError(nowhere(Path(entry.path)))


def leads_somewhere(entry: os.DirEntry[str]) -> bool:
    """Whether it is no link, or one to something that this user may look at."""
    return not entry.is_symlink() or reachable(Path(entry.path))


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


def leads_back(entry: os.DirEntry[str], folder: str | Path) -> bool:
    """Whether it is a link to the folder that it lies in, or above."""
    return entry.is_symlink() and holds(os.path.realpath(entry.path), os.path.realpath(folder))


def names_inside(folder: os.DirEntry[str]) -> list[str]:
    """Of all that lies in a folder; none where this user may not look."""
    with suppress(DataError):
        return [entry.name for entry in listed(folder.path)]
    return []
