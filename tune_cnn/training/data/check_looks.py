"""Images that show nothing, and images that stand in two parts: counted and named, and refused where they are many."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.training.data.cache import Entry
from tune_cnn.training.data.looks import CONSTANT_SHADES
from tune_cnn.training.data.readers import Int64
from tune_cnn.training.data.sources.source import PartName

PAIRS: tuple[tuple[PartName, PartName], ...] = (("validation", "train"), ("test", "train"), ("test", "validation"))
SHOWN = 5  # images in a message

Place = Callable[[int], str]  # of a row of the cache
Rows = Mapping[PartName, Int64]


def check_blank(entry: Entry, rows: Rows, data: DataSpec, place: Place) -> Iterator[str]:
    """Notes on nearly constant images; DataError where they are too many of a class's training images."""
    what = f"blank, with all pixels within {CONSTANT_SHADES} of 256 shades"
    todo = "look at them; if they are right, raise data.max_blank"
    if entry.looks is None:
        blank, sampled = entry.sample_constant
        if blank > data.max_blank * sampled:
            raise DataError(
                f"data: {blank} of {sampled} training images that were looked at are {what}, and data.max_blank is "
                f"{data.max_blank:g}; {todo}"
            )
        if blank:
            yield f"{blank} of {sampled} training images that were looked at are {what}"
        return
    constant_n = entry.looks.constant_n
    train = rows["train"]
    for label, name in enumerate(entry.classes):
        of_class = train[entry.labels_n[train] == label]
        blank_rows = of_class[constant_n[of_class]]
        if len(blank_rows) > data.max_blank * len(of_class):
            raise DataError(
                f"data: {len(blank_rows)} of {len(of_class)} training images of class {name!r} are {what}, and "
                f"data.max_blank is {data.max_blank:g}: {_named(blank_rows, place)}; {todo}"
            )
    used = np.concatenate(list(rows.values()))
    blank_rows = used[constant_n[used]]
    if len(blank_rows):
        yield f"{len(blank_rows)} of {len(used)} images are {what}: {_named(blank_rows, place)}"


def check_shared(entry: Entry, rows: Rows, data: DataSpec, place: Place) -> Iterator[str]:
    """Notes on equal images; DataError where too many of one part stand in another too.

    One image may, as no share of a small part is less. Blank images are equal by nature and don't count, nor do images
    that change from one reading to the next.
    """
    if entry.looks is None:
        return
    contents_n, constant_n = entry.looks.contents_n, entry.looks.constant_n
    for part, other in PAIRS:
        mine, theirs = rows[part][~constant_n[rows[part]]], rows[other][~constant_n[rows[other]]]
        shared = mine[np.isin(contents_n[mine], contents_n[theirs])]
        if not len(shared):
            continue
        said = f"{len(shared)} of {len(rows[part])} {part} images are equal to {_called(other)} images"
        pairs = [(row, theirs[contents_n[theirs] == contents_n[row]][0]) for row in shared[:SHOWN]]
        named = ", ".join(f"{place(row)} = {place(twin)}" for row, twin in pairs)
        if len(shared) > max(1, data.max_shared * len(rows[part])):
            raise DataError(
                f"data: {said}, and data.max_shared is {data.max_shared:g}: {named}; remove the copies, or raise "
                "data.max_shared to allow them"
            )
        yield f"{said}: {named}"
    yield from _contradictions(entry, rows["train"], place)


def _contradictions(entry: Entry, train: Int64, place: Place) -> Iterator[str]:
    """Equal training images of different classes."""
    assert entry.looks is not None
    seen = train[~entry.looks.constant_n[train]]
    _, first_n, group_n = np.unique(entry.looks.contents_n[seen], return_index=True, return_inverse=True)
    other_n = seen[entry.labels_n[seen] != entry.labels_n[seen[first_n]][group_n]]
    if len(other_n):
        yield f"{len(other_n)} training images are equal to one of another class: {_named(other_n, place)}"


def _called(part: str) -> str:
    return "training" if part == "train" else part


def _named(rows: Int64, place: Place) -> str:
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return ", ".join(place(int(row)) for row in rows[:SHOWN]) + more
