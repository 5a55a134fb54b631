"""Which images are held out: by seed, with every class in its share."""

from collections.abc import Sequence

import numpy as np

from tune_cnn.errors import DataError
from tune_cnn.training.data.readers import Int64

Seed = int | Sequence[int]


def stratified_split(
    labels_n: Int64,
    share: float,
    seed: Seed,
    *,
    classes: Sequence[str] = (),
    what: str = "validation",
    equal_n: Int64 | None = None,
) -> tuple[Int64, Int64]:
    """Positions kept and positions held out, both ascending; of each class `share` is held out, at least one.

    Images with one number in `equal_n` stay together, and count as one of the first one's class. DataError where a
    class would keep no image.
    """
    if equal_n is not None:
        _, first_n, group_n = np.unique(equal_n, return_index=True, return_inverse=True)
        firsts = np.sort(first_n)
        _, held_firsts = stratified_split(labels_n[firsts], share, seed, classes=classes, what=what)
        held_n = np.isin(first_n[group_n], firsts[held_firsts])
        return np.flatnonzero(~held_n), np.flatnonzero(held_n)
    random = np.random.default_rng(seed)
    held: list[Int64] = []
    for label, members in _by_class(labels_n):
        count = max(1, round(len(members) * share))
        if count >= len(members):
            raise DataError(_left_empty(_class_name(label, classes), len(members), share, what))
        held.append(random.permutation(members)[:count])
    held_out = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels_n), dtype=np.int64), held_out, assume_unique=True), held_out


def stratified_subset(labels_n: Int64, size: int, seed: Seed, *, classes: Sequence[str] = ()) -> Int64:
    """Positions of `size` images, ascending, each class in its share (largest remainders make the sum exact)."""
    if size > len(labels_n):
        raise DataError(
            f"data.subset: there are {len(labels_n)} training images, got {size}; leave subset out to use them all"
        )
    random = np.random.default_rng(seed)
    members = _by_class(labels_n)
    exact = np.array([len(m) for _, m in members]) * (size / len(labels_n))
    counts = np.floor(exact).astype(np.int64)
    largest_remainders = np.argsort(-(exact - counts), kind="stable")[: size - int(counts.sum())]
    counts[largest_remainders] += 1
    for (label, _), count in zip(members, counts, strict=True):
        if count == 0:
            raise DataError(
                f"data.subset: {size} images leave class {_class_name(label, classes)} without one; "
                "raise data.subset or leave it out"
            )
    drawn = [random.permutation(m)[:count] for (_, m), count in zip(members, counts, strict=True)]
    return np.sort(np.concatenate(drawn))


def _left_empty(name: str, images: int, share: float, what: str) -> str:
    """A class that a split would take whole; one of a single image can't be split at any share."""
    needed = f"data.{what}: every class needs images on both sides of the split, but class {name} has"
    if images == 1:
        return f"{needed} one image left; add images of it, or remove the class"
    largest = (images - 0.5) / images  # what is rounded to all but one
    todo = f"add images of it, or set data.{what} below {largest:g}"
    return f"{needed} {images} left and a share of {share:g} takes all; {todo}"


def _by_class(labels_n: Int64) -> list[tuple[int, Int64]]:
    return [(int(label), np.flatnonzero(labels_n == label).astype(np.int64)) for label in np.unique(labels_n)]


def _class_name(label: int, classes: Sequence[str]) -> str:
    return repr(classes[label]) if label < len(classes) else str(label)
