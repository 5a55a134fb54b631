"""The `device` loader of a set that is kept as JPEGs: their bytes are brought to the device and decoded there."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from tune_cnn.training.data.augment import AugmentationOnDevice, augment_batch
from tune_cnn.training.data.loaders.batch import Awaited, Batch, Batches, Plan
from tune_cnn.training.data.order import Request
from tune_cnn.training.data.readers import Int64
from tune_cnn.training.data.sources.packed.file import PackReader
from tune_cnn.training.data.sources.packed.on_device import DecoderOnDevice


class DecodingLoader:
    """Batches decoded, resized, augmented and normalised where the model is, while it works on the batch before."""

    def __init__(self, plan: Plan, reader: PackReader) -> None:
        self.plan = plan
        self.steps = plan.steps
        self.notes = plan.notes
        self._decoder = DecoderOnDevice(reader, plan.device)

    def start(self) -> None:
        """Nothing is to be started."""

    def epoch(self, epoch: int, positions_n: Int64 | None = None, *, first: int = 0) -> Batches:
        decoded = Awaited(self._decoded(epoch, positions_n, first))
        return Batches(self._delivered(decoded), decoded)

    def _decoded(self, epoch: int, positions_n: Int64 | None, first: int) -> Iterator[tuple[Request, torch.Tensor]]:
        rows_n = self.plan.images.indices
        for request in self.plan.requests(epoch, positions_n, first=first):
            yield request, self._decoder.images(rows_n[request.positions_n])

    def _delivered(self, decoded: Iterator[tuple[Request, torch.Tensor]]) -> Iterator[Batch]:
        normalise, device = self.plan.normaliser(), self.plan.device
        for request, images_nchw in decoded:
            augmentation = AugmentationOnDevice.of(request.augmentation, device)
            labels_n = torch.from_numpy(self.plan.images.labels_n[request.positions_n])
            yield Batch(
                normalise(augment_batch(images_nchw, augmentation)),
                labels_n.to(device, non_blocking=True),
            )

    def resize(self, batch_size: int) -> None:
        self.plan = replace(self.plan, batch_size=batch_size)
        self.steps, self.notes = self.plan.steps, self.plan.notes

    def close(self) -> None:
        """Nothing was started."""
