"""What a loader process does: turn a rank's request into augmented uint8 images and labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from tune_cnn.training.data.augment import augment_batch, augment_image
from tune_cnn.training.data.image_sets import read_images
from tune_cnn.training.data.operations.drawn import Composed
from tune_cnn.training.data.order import Augmentation
from tune_cnn.training.data.readers import Int64, Reader, Uint8, at_once, open_images
from tune_cnn.untyped import Untyped

Images = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class BatchOfRows:
    """A whole batch, asked of a process that knows only where the images lie."""

    rows_n: Int64
    labels_n: Int64
    augmentation: Augmentation


class OneRow(NamedTuple):
    """One image of a batch, in plain numbers: thousands of these cross to the processes each second."""

    row: int
    label: int
    dy: int
    dx: int
    flip: bool
    mirror_fill: bool
    composed: Composed | None = None  # of this image


class WholeBatches(Dataset[Images]):
    """One fancy index over the memory map, or over a reader where there is no cache, and one gather."""

    def __init__(self, source: Path | Reader) -> None:
        self.source = source
        self._mapped: Untyped = None

    def __getstate__(self) -> dict[str, Untyped]:
        return {"source": self.source, "_mapped": None}

    def __getitem__(self, request: BatchOfRows) -> Images:
        images_nchw = torch.from_numpy(self._fetch(request.rows_n))
        augmented_nchw, labels_n = augment_batch(images_nchw, request.augmentation), torch.from_numpy(request.labels_n)
        if get_worker_info() is not None:
            # A lack of room is an error here; torch would share the batch in a thread, whose errors lose it for good.
            augmented_nchw.share_memory_()
            labels_n.share_memory_()
        return augmented_nchw, labels_n

    def _fetch(self, rows_n: Int64) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        if not isinstance(self.source, Path):
            return read_images(self.source, rows_n)
        if self._mapped is None:
            self._mapped = open_images(self.source)
        return np.asarray(self._mapped[rows_n])


class SingleImages(Dataset[Images]):
    """Per image: read, decode, augment."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def __getitem__(self, request: OneRow) -> Images:
        return self._augmented(request, self.reader.image(request.row))

    def __getitems__(self, requests: list[OneRow]) -> list[Images]:
        """A batch's, as DataLoader asks where it can: images that come over a network don't wait for one another."""
        if at_once(self.reader) <= 1:
            return [self[request] for request in requests]
        images_nchw = read_images(self.reader, np.array([request.row for request in requests]))
        return [self._augmented(request, image) for request, image in zip(requests, images_nchw, strict=True)]

    def _augmented(self, request: OneRow, image_chw: Uint8) -> Images:
        _, label, dy, dx, flip, mirror_fill, composed = request
        if composed is None:
            return torch.from_numpy(augment_image(image_chw, dy, dx, flip, mirror_fill)), torch.tensor(label)
        augmentation = Augmentation(
            dy_n=np.array([dy]),
            dx_n=np.array([dx]),
            flip_n=np.array([flip]),
            mirror_fill=mirror_fill,
            composed=composed,
        )
        return augment_batch(torch.from_numpy(image_chw)[None], augmentation)[0], torch.tensor(label)
