"""Classes right below the root, without train/: taken only where nothing else can be meant."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tune_cnn.errors import DataError
from tune_cnn.text import printable
from tune_cnn.training.data.sources.folder.class_names import class_folders, each_once
from tune_cnn.training.data.sources.folder.content import Content, content_of, has_own_images, sets_within
from tune_cnn.training.data.sources.folder.entries import listed
from tune_cnn.training.data.sources.folder.no_classes import HERE, into_train, needed
from tune_cnn.training.data.sources.folder.part_names import KNOWN

# Folders that are named by what they hold, of whatever class: images beside boxes and masks, or whole sets.
BY_CONTENT = frozenset(
    {"annotation", "annotations", "data", "dataset", "datasets", "image", "images", "img", "imgs", "jpegimages"}
    | {"label", "labels", "masks", "segmentation", "segmentations", "trimaps"}
)
# Folders that tools which train write into the folder they are started in. They hold pictures of curves, deeper down.
OF_TOOLS = frozenset({"lightning_logs", "mlartifacts", "mlruns", "studies", "wandb"})


@dataclass(frozen=True, kw_only=True)
class RootClasses:
    """Names of the folders of a root, as the system spells them."""

    names: tuple[str, ...]  # of the classes
    others: tuple[str, ...]  # that hold no images and are no classes


def find_root_classes(root: Path) -> RootClasses:
    """DataError where fewer than two folders hold images, or where they may be meant otherwise.

    A folder without images is no class only where it holds texts alone, or is a tool's. Any other counts as a class,
    and is missed where the images are listed: its images may be of a form that isn't read.
    """
    folders = {entry: Content.TEXTS if _is_a_tools(entry) else content_of(entry.path) for entry in class_folders(root)}
    with_images = [entry for entry, content in folders.items() if content is Content.IMAGES]
    if len(with_images) < 2:
        _refuse_few(root, with_images)
    _check_names(root, with_images)
    _check_copies(root, with_images)
    _check_level(root, with_images)
    return RootClasses(
        names=each_once(root, (entry.name for entry, content in folders.items() if content is not Content.TEXTS)),
        others=tuple(entry.name for entry, content in folders.items() if content is Content.TEXTS),
    )


def _is_a_tools(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower() in OF_TOOLS and not has_own_images(entry.path)


def _refuse_few(root: Path, with_images: Sequence[os.DirEntry[str]]) -> NoReturn:
    begin = f"{printable(str(root))} has no train/, and of its folders"
    if not with_images:
        raise DataError(f"{needed(root, f'{begin} none holds images')}; {HERE}")
    what = needed(root, f"{begin} {printable(with_images[0].name)}/ alone holds images")
    raise DataError(f"{what}; {_further_down(with_images[0]) or f'{HERE}, or '}{into_train(root)}")


def _check_names(root: Path, with_images: Sequence[os.DirEntry[str]]) -> None:
    """DataError where a folder's name is that of a folder of images, whatever their classes."""
    for entry in with_images:
        if entry.name.lower() in BY_CONTENT:
            what = needed(root, f"there is no train/, and {entry.name}/ is hardly the name of a class")
            raise DataError(f"{what}; {_further_down(entry)}{into_train(root)} if {entry.name}/ is one")


def _check_copies(root: Path, with_images: Sequence[os.DirEntry[str]]) -> None:
    """DataError where a folder holds one that is named as one beside it: archives bring such copies of all classes."""
    names = {entry.name.lower() for entry in with_images}
    for entry in with_images:
        beside = names - {entry.name.lower()}
        for inside in listed(entry.path):
            if inside.name.lower() in beside and not inside.is_symlink() and inside.is_dir():
                name = printable(inside.name)
                raise DataError(
                    f"data: {printable(entry.path)} holds {name}/, and so does {printable(str(root))}, which has no "
                    f"train/: it looks like a copy of the classes; move it away, or {into_train(root)} if it is a class"
                )


def _check_level(root: Path, with_images: Sequence[os.DirEntry[str]]) -> None:
    """DataError where the classes may as well lie further down: no folder has images of its own, and one holds
    several folders of them."""
    if any(has_own_images(entry.path) for entry in with_images):
        return
    for entry in with_images:
        if further_down := _further_down(entry):
            what = f"{printable(str(root))} has no train/, and {printable(entry.name)}/ holds folders of images itself"
            raise DataError(
                f"{needed(root, what)}; {further_down}{into_train(root)} if {printable(entry.name)}/ is a class"
            )


def _further_down(entry: os.DirEntry[str]) -> str:
    """The way out where a folder holds folders of images: they may be the classes."""
    within = sets_within(entry.path)
    if not within:
        return ""
    return f"set data.root to {printable(str(Path(within[0]).parent))} if its folders are the classes, or "


def check_no_parts_below(root: Path, images: Iterable[str]) -> None:
    """DataError where an image's path from the root, with its class first, leads through a part's folder."""
    for image in images:
        folders = image.split("/")[:-1]
        for depth, name in enumerate(folders[1:], start=1):
            if name.lower() in KNOWN:
                at = root.joinpath(*folders[:depth])
                raise DataError(
                    f"data: {printable(str(at))} holds {printable(name)}/, the folder of a part, and "
                    f"{printable(str(root))} has no train/; set data.root to {printable(str(at))} if its parts are "
                    f"meant, or {into_train(root)} if {printable(folders[0])}/ is one"
                )
