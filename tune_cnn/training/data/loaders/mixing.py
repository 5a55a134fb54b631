"""Images mixed in pairs, with their labels: mixup and CutMix.

Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", 2017, https://arxiv.org/abs/1710.09412.
Yun, Han, Oh, Chun, Choe, Yoo, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
2019, https://arxiv.org/abs/1905.04899.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tune_cnn.spec import Configuration
from tune_cnn.training.data.loaders.batch import Batch, Batches, BatchLoader
from tune_cnn.training.data.readers import Int64

MIXING = 2  # marks the stream of random numbers that belongs to mixing


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """How images are mixed: of which shares, and how often by boxes."""

    mixup: float  # Beta(alpha, alpha) gives an image's own share; 0: images are never blended
    cutmix: float  # the same of the area outside of a box; 0: there are no boxes
    switch: float  # probability of a box, where both are on

    @classmethod
    def of(cls, configuration: Configuration) -> "Mixing | None":
        """None where no images are mixed."""
        c = configuration
        return cls(mixup=c.mixup, cutmix=c.cutmix, switch=c.mix_switch) if c.mixup or c.cutmix else None

    @property
    def box_probability(self) -> float:
        return self.switch if self.mixup and self.cutmix else float(self.cutmix > 0)


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """What was drawn for images: their own share of the label, of each pixel outside of the box, and the box."""

    share_n: Tensor
    blend_n: Tensor
    box_n4: Tensor | None  # top, bottom, left, right, within which the other image stands; None: there are no boxes

    def __getitem__(self, where: slice) -> "Pairing":
        return Pairing(
            share_n=self.share_n[where],
            blend_n=self.blend_n[where],
            box_n4=None if self.box_n4 is None else self.box_n4[where],
        )

    def to(self, device: torch.device) -> "Pairing":
        return Pairing(
            share_n=self.share_n.to(device),
            blend_n=self.blend_n.to(device),
            box_n4=None if self.box_n4 is None else self.box_n4.to(device),
        )


def drawn(mixing: Mixing, random: np.random.Generator, images: int, image_size: tuple[int, int]) -> Pairing:
    """One draw for each image, on the CPU. Boxes are those of torchvision's CutMix: cut off at the image's edges."""
    boxed_n = random.random(images) < mixing.box_probability
    blend_n = random.beta(mixing.mixup, mixing.mixup, images) if mixing.mixup else np.ones(images)
    if not mixing.cutmix:
        share_n = torch.from_numpy(blend_n).float()
        return Pairing(share_n=share_n, blend_n=share_n, box_n4=None)
    half_n = 0.5 * np.sqrt(1 - random.beta(mixing.cutmix, mixing.cutmix, images))
    edges, area_n = [], np.ones(images)
    for side in image_size:
        middle_n, reach_n = random.integers(side, size=images), (half_n * side).astype(np.int64)
        first_n, last_n = np.maximum(middle_n - reach_n, 0), np.minimum(middle_n + reach_n, side)
        edges += [first_n, np.where(boxed_n, last_n, first_n)]  # where images are blended, an empty box
        area_n = area_n * (last_n - first_n) / side
    blend_n = np.where(boxed_n, 1.0, blend_n)
    return Pairing(
        share_n=torch.from_numpy(np.where(boxed_n, 1 - area_n, blend_n)).float(),
        blend_n=torch.from_numpy(blend_n).float(),
        box_n4=torch.from_numpy(np.stack(edges, axis=1)),
    )


def mixed(batch: Batch, pairing: Pairing, classes: int) -> Batch:
    """Each image with the one before it in the batch, and the shares of their classes (n×k) for labels."""
    images_nchw, labels_n = batch
    weights = pairing.blend_n[:, None, None, None]
    if pairing.box_n4 is not None:
        height, width = images_nchw.shape[2:]
        rows = torch.arange(height, device=images_nchw.device)[None, None, :, None]
        columns = torch.arange(width, device=images_nchw.device)[None, None, None, :]
        top, bottom, left, right = (edge[:, None, None, None] for edge in pairing.box_n4.unbind(1))
        inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
        weights = weights * ~inside
    own_nk = torch.zeros(len(labels_n), classes, device=labels_n.device).scatter_(1, labels_n[:, None], 1.0)
    images_nchw = torch.lerp(images_nchw.roll(1, 0), images_nchw, weights)
    return Batch(images_nchw, torch.lerp(own_nk.roll(1, 0), own_nk, pairing.share_n[:, None]))


class MixedBatches(Batches):
    """An epoch's batches, mixed on the device; waited for as they are."""

    def __init__(self, batches: Batches, pairing: Pairing, classes: int, first: int) -> None:
        self._plain, self._pairing, self._classes, self._next = batches, pairing, classes, first

    def __next__(self) -> Batch:
        batch = next(self._plain)
        size = len(batch.labels_n)
        if self._next + size > len(self._pairing.share_n):  # images that are repeated at an epoch's end
            self._next = 0
        pairing = self._pairing[self._next : self._next + size]
        self._next += size
        return mixed(batch, pairing, self._classes)

    @property
    def waited_s(self) -> float:
        return self._plain.waited_s


class MixingLoader:
    """A loader whose images are mixed within a rank's batch; what is drawn depends on seed, epoch and rank alone."""

    def __init__(
        self,
        loader: BatchLoader,
        mixing: Mixing,
        *,
        seed: int,
        rank: int,
        ranks: int,
        batch_size: int,
        images: int,
        image_size: tuple[int, int],
        classes: int,
        device: torch.device,
    ) -> None:
        self._loader, self._mixing, self._classes, self._device = loader, mixing, classes, device
        self._seed, self._rank, self._ranks, self._batch_size = seed, rank, ranks, batch_size
        self._images, self._image_size = -(-images // ranks), image_size
        self.steps, self.notes = loader.steps, loader.notes

    def start(self) -> None:
        self._loader.start()

    def epoch(self, epoch: int, positions_n: Int64 | None = None, *, first: int = 0) -> Batches:
        random = np.random.default_rng((self._seed, epoch, MIXING, self._rank))
        images = max(self._images, 2 * self._batch_size)  # never fewer than a batch, with what joins it
        pairing = drawn(self._mixing, random, images, self._image_size).to(self._device)
        begun_at = first * (self._batch_size // self._ranks)
        return MixedBatches(self._loader.epoch(epoch, positions_n, first=first), pairing, self._classes, begun_at)

    def resize(self, batch_size: int) -> None:
        self._loader.resize(batch_size)
        self._batch_size = batch_size
        self.steps, self.notes = self._loader.steps, self._loader.notes

    def close(self) -> None:
        self._loader.close()
