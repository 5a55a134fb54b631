"""Batches for evaluation: each image exactly once over all ranks, none padded, none augmented."""

from collections.abc import Iterator

import numpy as np
import torch

from tune_cnn.training.data.augment import Normaliser
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.data.image_sets import ImageSet
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.data.loaders.device import ResidentSets


def evaluation_batches(
    images: ImageSet,
    facts: DataFacts,
    *,
    batch_size: int,
    rank: int,
    ranks: int,
    device: torch.device,
    channels_last: bool,
    resident: ResidentSets | None = None,
    threads: int = 1,
) -> Iterator[Batch]:
    """This rank's share, in the order of the set; `batch_size` is over all ranks.

    Ranks may get batches of different sizes, and one rank a batch less than another: nothing in a step may wait for
    the other ranks. With `resident` the images stay on the device between calls. `threads` decode where the set
    isn't cached.
    """
    normalise = Normaliser(facts.mean, facts.std, device, channels_last)
    share = np.arange(rank, len(images), ranks, dtype=np.int64)
    size = max(1, batch_size // ranks)
    on_device = resident.get(images, device) if resident is not None and images.images is not None else None
    for start in range(0, len(share), size):
        positions = share[start : start + size]
        if on_device is not None:
            raw_nchw, labels_n = on_device.take(torch.from_numpy(positions).to(device))
        else:
            raw_nchw = torch.from_numpy(images.fetch(positions, threads)).to(device)
            labels_n = torch.from_numpy(images.labels_n[positions]).to(device)
        yield Batch(normalise(raw_nchw), labels_n)
