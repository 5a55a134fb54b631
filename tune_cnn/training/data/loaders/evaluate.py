"""Batches for evaluation: each image exactly once over all ranks, none padded, none augmented."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from tune_cnn.training.data.augment import Normaliser
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.data.image_sets import ImageSet
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.data.loaders.device import ResidentSets


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

    def __iter__(self) -> Iterator[Batch]:
        normalise = Normaliser(self.facts.mean, self.facts.std, self.device, self.channels_last)
        share = np.arange(self.rank, len(self.images), self.ranks, dtype=np.int64)
        kept = self.resident if self.images.images is not None else None
        on_device = kept.get(self.images, self.device) if kept is not None else None
        for start in range(0, len(share), self._size):
            positions = share[start : start + self._size]
            if on_device is not None:
                raw_nchw, labels_n = on_device.take(torch.from_numpy(positions).to(self.device))
            else:
                raw_nchw = torch.from_numpy(self.images.fetch(positions, self.threads)).to(self.device)
                labels_n = torch.from_numpy(self.images.labels_n[positions]).to(self.device)
            yield Batch(normalise(raw_nchw), labels_n)

    def __len__(self) -> int:
        share = len(range(self.rank, len(self.images), self.ranks))
        return -(-share // self._size)

    @property
    def _size(self) -> int:
        return max(1, self.batch_size // self.ranks)
