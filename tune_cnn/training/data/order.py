"""The order of an epoch: every image's turn and augmentation, drawn at once from (seed, epoch)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from tune_cnn.spec.augmentation import USUAL as AUGMENTS
from tune_cnn.spec.augmentation import operations_of
from tune_cnn.training.data.operations.drawn import AS_USUAL, Composed, Settings
from tune_cnn.training.data.readers import Int64

Bools = np.ndarray[tuple[int], np.dtype[np.bool_]]
Values = TypeVar("Values", Int64, Bools)
ROUNDING = 1e-9  # of a pixel: 0.3 · 10 is a little less than 3 to a float
SHIFT = 1 / 8  # of the side, unless a configuration says another share
ALTERNATION = 1  # marks the stream of random numbers that belongs to no epoch


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """One value per image of a batch: shift in pixels, down and right (None: no shifting), and mirroring.

    mirror_fill: what a shift leaves empty shows the image mirrored at its edge; else it is black.
    composed: operations beyond these, and the order of all; None: they are shifted, then mirrored.
    """

    dy_n: Int64 | None
    dx_n: Int64 | None
    flip_n: Bools | None
    mirror_fill: bool = False
    composed: Composed | None = None

    def __getitem__(self, where: "slice | Int64") -> "Augmentation":
        return Augmentation(
            dy_n=None if self.dy_n is None else self.dy_n[where],
            dx_n=None if self.dx_n is None else self.dx_n[where],
            flip_n=None if self.flip_n is None else self.flip_n[where],
            mirror_fill=self.mirror_fill,
            composed=None if self.composed is None else self.composed[where],
        )


@dataclass(frozen=True, kw_only=True)
class Request:
    """What one rank is to fetch for one step."""

    positions_n: Int64  # in the part
    augmentation: Augmentation


def largest_shift(side: int, share: float = SHIFT) -> int:
    """That share of the side in whole pixels, at least one."""
    return max(1, int(side * share + ROUNDING))


def steps_per_epoch(images: int, batch_size: int, ranks: int) -> int:
    """The last, smaller batch counts, unless its images join the batch before it."""
    return -(-images // batch_size) - bool(joining(images, batch_size, ranks))


def joining(images: int, batch_size: int, ranks: int) -> int:
    """Images at an epoch's end that join the batch before them.

    They would be one image a rank, and batch normalisation can't take one value a channel. Where every batch is of one
    image a rank, none joins.
    """
    rest = images % batch_size
    return rest if rest <= ranks < batch_size <= images else 0


def padding(images: int, batch_size: int, ranks: int) -> int:
    """Images that the last batch repeats so that the ranks share it evenly."""
    return -(images % batch_size) % ranks


@dataclass(frozen=True, kw_only=True)
class EpochOrder:
    """What every epoch of a training is drawn from, and one rank's place among the others."""

    images: int
    image_size: tuple[int, int]
    augment: str
    batch_size: int  # over all ranks
    rank: int
    ranks: int
    seed: int
    flips: str = "random"
    shift: float = SHIFT
    shift_fill: str = "black"
    settings: Settings = AS_USUAL


def epoch_requests(
    order: EpochOrder, epoch: int, positions_n: Int64 | None = None, *, first: int = 0
) -> Iterator[Request]:
    """This rank's requests of one epoch, `steps_per_epoch` of them, or those from the step number `first` on.

    `positions_n`: the images in another order than `epoch_order` gives, fewer of them, or some of them repeatedly.

    Step t takes permutation[t·B : (t+1)·B] over all ranks, and a rank every `ranks`-th of these: N ranks see the
    batches that one rank would see. The last batch takes what is left, which may be a few images more than B (see
    `joining`). It is filled up to a multiple of `ranks` with the images that stand first in the epoch, as torch's
    DistributedSampler does; they keep the augmentation that they had there.
    """
    random = np.random.default_rng((order.seed, epoch))
    drawn_n = random.permutation(order.images).astype(np.int64)
    augmentation = _draw(random, order)
    taken_n = drawn_n if positions_n is None else positions_n
    if order.flips == "alternating" and augmentation.flip_n is not None:
        augmentation = replace(
            augmentation[: len(taken_n)], flip_n=alternating(order.images, order.seed, epoch)[taken_n]
        )
    if order.augment not in AUGMENTS:
        apart_n = told_apart(taken_n, order.images)
        composed = Composed.of(order.augment, order.settings, seed=order.seed, epoch=epoch, positions_n=apart_n)
        augmentation = replace(augmentation, composed=composed)
    for mine in turns(len(taken_n), order.batch_size, order.rank, order.ranks)[first:]:
        yield Request(positions_n=taken_n[mine], augmentation=augmentation[mine])


def turns(images: int, batch_size: int, rank: int, ranks: int) -> list[Int64]:
    """For each step of an epoch of so many images, which of them a rank takes: places in the epoch's order."""
    places = np.concatenate([np.arange(images), np.arange(padding(images, batch_size, ranks))])
    steps = steps_per_epoch(images, batch_size, ranks)
    starts = [step * batch_size for step in range(steps)]
    ends = [*starts[1:], len(places)]
    return [places[start:end][rank::ranks] for start, end in zip(starts, ends, strict=True)]


def joined(requests: Sequence[Request]) -> tuple[Request, list[int]]:
    """The requests as one, and where each of them ends in it."""
    parts = [one.augmentation for one in requests]
    positions_n = np.concatenate([one.positions_n for one in requests])
    composed, apart = parts[0].composed, [part.composed.positions_n for part in parts if part.composed is not None]
    augmentation = Augmentation(
        dy_n=_joined([part.dy_n for part in parts]),
        dx_n=_joined([part.dx_n for part in parts]),
        flip_n=_joined([part.flip_n for part in parts]),
        mirror_fill=parts[0].mirror_fill,
        composed=composed if composed is None else replace(composed, positions_n=np.concatenate(apart)),
    )
    ends = np.cumsum([len(one.positions_n) for one in requests]).tolist()
    return Request(positions_n=positions_n, augmentation=augmentation), ends


def told_apart(positions_n: Int64, images: int) -> Int64:
    """The positions, and beyond the `images` of the split those that have come in the epoch before: they draw anew."""
    if not len(positions_n) or np.bincount(positions_n).max() == 1:
        return positions_n
    sorting_n = np.argsort(positions_n, kind="stable")
    sorted_n = positions_n[sorting_n]
    before_n = np.empty_like(positions_n)
    before_n[sorting_n] = np.arange(len(positions_n)) - np.searchsorted(sorted_n, sorted_n)
    return positions_n + before_n * images


def epoch_order(images: int, seed: int, epoch: int) -> Int64:
    """The order of an epoch's images, where nothing gives another."""
    return np.random.default_rng((seed, epoch)).permutation(images).astype(np.int64)


def first_and_last(positions_n: Int64, batch_size: int, steps: int) -> Int64:
    """An epoch of so many whole batches, and at its end what is left over at the end of the whole epoch."""
    whole = min(steps, len(positions_n) // batch_size)
    return positions_n[: whole * batch_size + len(positions_n) % batch_size]


def _joined(parts: Sequence[Values | None]) -> Values | None:
    given = [part for part in parts if part is not None]
    return np.concatenate(given) if given else None


def alternating(images: int, seed: int, epoch: int) -> Bools:
    """Which images are mirrored: in epoch 0 each one with even chances, then in turn with its original.

    Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, https://arxiv.org/abs/2404.00498: any two epochs
    in a row show an image both ways, where a draw of each epoch shows half of the images the same way twice.
    """
    first_n: Bools = np.random.default_rng((seed, 0, ALTERNATION)).random(images) < 0.5
    return first_n ^ bool(epoch % 2)


def _draw(random: np.random.Generator, order: EpochOrder) -> Augmentation:
    parts, images = set(operations_of(order.augment)), order.images
    dy, dx = (largest_shift(side, order.shift) for side in order.image_size)
    shifts = flips = None
    if parts & {"crop", "crop_flip"}:
        shifts = (random.integers(-dy, dy, images, endpoint=True), random.integers(-dx, dx, images, endpoint=True))
    if parts & {"flip", "crop_flip"}:
        flips = random.random(images) < 0.5
    return Augmentation(
        dy_n=shifts[0] if shifts else None,
        dx_n=shifts[1] if shifts else None,
        flip_n=flips,
        mirror_fill=order.shift_fill == "mirror",
    )
