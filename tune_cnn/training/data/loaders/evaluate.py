"""Batches for evaluation: each image exactly once over all ranks, none padded, none augmented."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from tune_cnn.training.data.augment import Normaliser
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.data.image_sets import ImageSet
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.data.loaders.device import ResidentSets
from tune_cnn.training.data.loaders.workers import Images
from tune_cnn.training.data.operations.view import View
from tune_cnn.training.data.readers import Int64
from tune_cnn.training.progress import PROGRESS


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationLoader:
    """This rank's share of a split, in the order of the set; may be gone through again and again.

    Ranks may get batches of different sizes, and one rank a batch less than another: nothing in a step may wait for
    the other ranks.
    """

    images: ImageSet
    facts: DataFacts
    batch_size: int  # over all ranks
    rank: int
    ranks: int
    device: torch.device
    channels_last: bool
    resident: ResidentSets | None = None  # where the images stay on the device between one time and the next
    threads: int = 1  # that decode, where the set isn't cached
    view: View | None = None  # None: images as they are

    def __iter__(self) -> Iterator[Batch]:
        return self._batches(range(len(self)))

    def first_and_last(self) -> Iterator[Batch]:
        """The two batches whose sizes are those of all."""
        return self._batches(sorted({0, len(self) - 1}) if len(self) else [])

    def _batches(self, numbers: Iterable[int]) -> Iterator[Batch]:
        normalise = Normaliser(self.facts.mean, self.facts.std, self.device, self.channels_last)
        kept = self.resident if self.images.images is not None else None
        on_device = kept.get(self.images, self.device) if kept is not None else None
        share_n = torch.arange(
            self.rank, len(self.images), self.ranks, device="cpu" if on_device is None else self.device
        )
        for number in numbers:
            positions_n = share_n[number * self._size : (number + 1) * self._size]
            raw_nchw, labels_n = (
                self._fetched(positions_n.numpy()) if on_device is None else on_device.take(positions_n)
            )
            PROGRESS.moved()
            yield Batch(normalise(raw_nchw if self.view is None else self.view.images(raw_nchw)), labels_n)

    def _fetched(self, positions_n: Int64) -> Images:
        """While the device works on the batch before, which a copy from pinned memory lets it."""
        raw_nchw = torch.from_numpy(self.images.fetch(positions_n, self.threads))
        labels_n = torch.from_numpy(self.images.labels_n[positions_n])
        if self.device.type != "cuda":
            return raw_nchw, labels_n
        return (
            raw_nchw.pin_memory().to(self.device, non_blocking=True),
            labels_n.pin_memory().to(self.device, non_blocking=True),
        )

    def __len__(self) -> int:
        share = len(range(self.rank, len(self.images), self.ranks))
        return -(-share // self._size)

    @property
    def _size(self) -> int:
        return max(1, self.batch_size // self.ranks)
