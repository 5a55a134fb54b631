"""What every loader gives and promises."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import perf_counter
from typing import NamedTuple, Protocol, TypeVar

import torch

from tune_cnn.training.data.augment import Normaliser
from tune_cnn.training.data.facts import DataFacts, check_batch
from tune_cnn.training.data.image_sets import ImageSet
from tune_cnn.training.data.operations.drawn import AS_USUAL, Settings, check_channels
from tune_cnn.training.data.order import SHIFT, EpochOrder, Request, epoch_requests, padding, steps_per_epoch
from tune_cnn.training.data.readers import Int64
from tune_cnn.training.progress import PROGRESS
from tune_cnn.untyped import Untyped

T = TypeVar("T")


class Batch(NamedTuple):
    images_nchw: torch.Tensor  # float32 on the device, normalised
    labels_n: torch.Tensor  # int64 on the device; of mixed images float32, n×k: each class's share


class Awaited(Iterator[T]):
    """The same items, and the seconds that their coming took."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self.waited_s = 0.0

    def __next__(self) -> T:
        asked_s = perf_counter()
        try:
            return next(self._items)
        finally:
            self.waited_s += perf_counter() - asked_s


class Batches(Iterator[Batch]):
    """An epoch's batches on the device, and how long they were waited for.

    What is queued on the device for a batch (copying, gathering, normalising) is no waiting for data: a full queue
    blocks there until the device has done older work.
    """

    def __init__(self, batches: Iterator[Batch], awaited: Awaited[Untyped] | None = None) -> None:
        """`awaited`: what the batches are made of, where it is fetched; None: it is at hand."""
        self._batches = batches
        self._awaited = awaited

    def __next__(self) -> Batch:
        batch = next(self._batches)
        PROGRESS.moved()
        return batch

    @property
    def waited_s(self) -> float:
        return self._awaited.waited_s if self._awaited is not None else 0.0


class BatchLoader(Protocol):
    """Delivers one rank's share of the training split; same seed and epoch, same batches, whatever the kind."""

    steps: int  # per epoch, equal on all ranks
    notes: tuple[str, ...]  # for the user

    def start(self) -> None:
        """Start the loader's processes and wait until they answer; before the clock starts. Idempotent."""
        ...

    def epoch(self, epoch: int, positions_n: Int64 | None = None, *, first: int = 0) -> Batches:
        """The batches of an epoch; of these images in this order, where one is given.

        first: so many batches are left out at the beginning, unread; one remains at least.
        """
        ...

    def resize(self, batch_size: int) -> None:
        """Deliver batches of this size over all ranks, from the next epoch on."""
        ...

    def close(self) -> None:
        """End the loader's processes for sure. Idempotent."""
        ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What all kinds of loader share: whose images, in which batches, drawn how, to where.

    DataError where the batch is larger than the split.
    """

    images: ImageSet
    facts: DataFacts
    batch_size: int  # over all ranks
    rank: int
    ranks: int
    seed: int
    augment: str
    device: torch.device
    channels_last: bool
    flips: str = "random"
    shift: float = SHIFT
    shift_fill: str = "black"
    settings: Settings = AS_USUAL  # of operations beyond shift and flip

    def __post_init__(self) -> None:
        check_batch(self.facts, self.batch_size, self.ranks)
        check_channels(self.augment, self.facts.in_channels)

    @property
    def steps(self) -> int:
        return steps_per_epoch(len(self.images), self.batch_size, self.ranks)

    @property
    def notes(self) -> tuple[str, ...]:
        padded = padding(len(self.images), self.batch_size, self.ranks)
        if not padded:
            return ()
        return (
            f"{padded} image{'s' if padded > 1 else ''} of {len(self.images)} repeated at each epoch's end, "
            f"so that {self.ranks} ranks share the last batch evenly",
        )

    def requests(self, epoch: int, positions_n: Int64 | None = None, *, first: int = 0) -> Iterator[Request]:
        order = EpochOrder(
            images=len(self.images),
            image_size=self.facts.image_size,
            augment=self.augment,
            batch_size=self.batch_size,
            rank=self.rank,
            ranks=self.ranks,
            seed=self.seed,
            flips=self.flips,
            shift=self.shift,
            shift_fill=self.shift_fill,
            settings=replace(self.settings, mean_colour=tuple(round(255 * mean) for mean in self.facts.mean)),
        )
        return epoch_requests(order, epoch, positions_n, first=first)

    def normaliser(self) -> Normaliser:
        return Normaliser(self.facts.mean, self.facts.std, self.device, self.channels_last)
