"""The `device` loader: the whole split lies on the device as uint8, and a batch is one gather."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch

from tune_cnn.errors import DataError
from tune_cnn.training.data.augment import AugmentationOnDevice, augment_batch
from tune_cnn.training.data.image_sets import ImageSet
from tune_cnn.training.data.loaders.batch import Batch, Batches, Plan
from tune_cnn.training.data.order import joined
from tune_cnn.training.data.readers import Int64

UPLOAD_BYTES = 2**26  # at a time, so that an upload needs little memory besides

NOT_CACHED = (
    "needs the decoded images, but this data set isn't cached: its images change from one reading to the next, or take "
    "too much room"
)


@dataclass(frozen=True, kw_only=True)
class DeviceSet:
    """One part of a data set on a device."""

    images_nchw: torch.Tensor  # uint8
    rows_n: torch.Tensor | None  # of `images_nchw` for each position; None: they are equal
    labels_n: torch.Tensor

    def take(self, positions_n: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows = positions_n if self.rows_n is None else self.rows_n[positions_n]
        return self.images_nchw[rows], self.labels_n[positions_n]


def load_on_device(images: ImageSet, device: torch.device) -> DeviceSet:
    """Bring a part to the device. On a CPU it is there already: the memory map that all processes share."""
    if images.images is None:
        raise DataError(f"loader: device {NOT_CACHED}; search batched or stream instead")
    labels_n = torch.from_numpy(images.labels_n).to(device)
    if device.type == "cpu":
        return DeviceSet(
            images_nchw=torch.from_numpy(images.images),
            rows_n=torch.from_numpy(images.indices),
            labels_n=labels_n,
        )
    shape = (len(images), *images.images.shape[1:])
    resident = torch.empty(shape, dtype=torch.uint8, device=device)
    step = max(1, UPLOAD_BYTES // max(1, int(np.prod(shape[1:]))))
    for start in range(0, len(images), step):
        rows = images.indices[start : start + step]
        resident[start : start + len(rows)] = torch.from_numpy(images.images[rows]).to(device)
    return DeviceSet(images_nchw=resident, rows_n=None, labels_n=labels_n)


class ResidentSets:
    """Keeps parts on their device from trial to trial, held by whoever outlives the trials."""

    def __init__(self) -> None:
        self._sets: dict[tuple[str, str, str], DeviceSet] = {}

    def get(self, images: ImageSet, device: torch.device) -> DeviceSet:
        key = (*_key(images), str(device))
        if key not in self._sets:
            self._sets[key] = load_on_device(images, device)
        return self._sets[key]

    def keep(self, *sets: ImageSet) -> None:
        """Free all others, which would count as memory of the trial that begins."""
        keys = {_key(images) for images in sets}
        self._sets = {key: held for key, held in self._sets.items() if key[:2] in keys}

    def clear(self) -> None:
        """Free the device's memory."""
        self._sets.clear()


def _key(images: ImageSet) -> tuple[str, str]:
    return str(images.path), hashlib.sha256(images.indices.tobytes()).hexdigest()


class DeviceLoader:
    """Batches gathered, augmented and normalised where the model is."""

    def __init__(self, plan: Plan, resident: ResidentSets | None = None) -> None:
        self.plan = plan
        self.steps = plan.steps
        self.notes = plan.notes
        self._resident = resident if resident is not None else ResidentSets()
        self._set: DeviceSet | None = None

    def start(self) -> None:
        if self._set is None:
            self._set = self._resident.get(self.plan.images, self.plan.device)

    def epoch(self, epoch: int, positions_n: Int64 | None = None, *, first: int = 0) -> Batches:
        return Batches(self._gathered(epoch, positions_n, first))

    def _gathered(self, epoch: int, positions_n: Int64 | None, first: int) -> Iterator[Batch]:
        """What is drawn for the epoch is uploaded once: a copy for every batch would cost more than its gather."""
        self.start()
        assert self._set is not None
        normalise, device = self.plan.normaliser(), self.plan.device
        whole, ends = joined(list(self.plan.requests(epoch, positions_n, first=first)))
        epoch_positions_n = torch.from_numpy(whole.positions_n).to(device)
        augmentation = AugmentationOnDevice.of(whole.augmentation, device)
        for start, end in pairwise([0, *ends]):
            images_nchw, labels_n = self._set.take(epoch_positions_n[start:end])
            yield Batch(normalise(augment_batch(images_nchw, augmentation[start:end])), labels_n)

    def resize(self, batch_size: int) -> None:
        self.plan = replace(self.plan, batch_size=batch_size)
        self.steps, self.notes = self.plan.steps, self.plan.notes

    def close(self) -> None:
        self._set = None
