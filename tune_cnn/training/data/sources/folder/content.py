"""What a folder holds, without opening a file: images by their names at whatever depth, or what is surely none."""

import os
from collections import deque
from enum import Enum

from tune_cnn.training.data.sources.folder.endings import IMAGE_ENDINGS, ending, is_text
from tune_cnn.training.data.sources.folder.entries import is_left_behind, leads_somewhere, listed

MOST_FOLDERS = 1000  # that are looked into for one folder's first image: a root may be a whole disk, by mistake


class Content(Enum):
    """Of a folder, at whatever depth."""

    IMAGES = "files that are named as images"
    TEXTS = "texts, code or records alone"
    NEITHER = "nothing, or what may be images in a form that isn't read"


def content_of(folder: str) -> Content:
    """Looked into from the top until there is an image; by links too, each folder once. DataError where it can't be."""
    waiting = deque([folder])
    seen: set[str] = set()
    are_texts: set[bool] = set()
    while waiting and len(seen) < MOST_FOLDERS:
        path = waiting.popleft()
        real = os.path.realpath(path)
        if real in seen:
            continue
        seen.add(real)
        for entry in listed(path):
            if is_left_behind(entry.name):
                continue
            if leads_to_folder(entry):
                waiting.append(entry.path)
            elif ending(entry.name) in IMAGE_ENDINGS:
                return Content.IMAGES
            else:
                are_texts.add(is_text(entry.name))
    return Content.TEXTS if are_texts == {True} and not waiting else Content.NEITHER


def has_own_images(folder: str) -> bool:
    """Whether files that are named as images lie right in it."""
    return any(
        ending(entry.name) in IMAGE_ENDINGS and not is_left_behind(entry.name) and not leads_to_folder(entry)
        for entry in listed(folder)
    )


def image_folders_in(folder: str) -> list[str]:
    """The folders right in it that hold images."""
    return [
        entry.path
        for entry in listed(folder)
        if not is_left_behind(entry.name) and leads_to_folder(entry) and content_of(entry.path) is Content.IMAGES
    ]


def sets_within(folder: str) -> list[str]:
    """The folders with images, two or more, in a folder that has no images of its own; further down where each holds
    the next alone. They may be classes as well as the folder itself."""
    while not has_own_images(folder):
        within = image_folders_in(folder)
        if len(within) != 1:
            return within
        folder = within[0]
    return []


def leads_to_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one. A link to nothing is none: it is told where the images are read."""
    return leads_somewhere(entry) and entry.is_dir()
