"""EfficientTrain (Wang et al., 2024, https://arxiv.org/abs/2405.08768): low frequencies and weak augmentation first."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from tune_cnn.spec import Range, StudySpec
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.strategies.framework.small_images import check_size, scaled
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.switching import check_epochs
from tune_cnn.training.strategies.framework.training_run import TrainingRun

STAGES = (0.6, 0.8)  # shares of the epochs at which the side grows: 160 pixels, 192, then 224 of 224
STRONGEST = 10.0  # RandAugment's scale
# What RandAugment (Cubuk et al., 2019, https://arxiv.org/abs/1909.13719) does at magnitude 10.
ROTATION, SHEAR, SHIFT, TONE = 0.5236, 0.3, 0.45, 0.9  # 30° in rad; of the side; of the factor 1
KINDS = 7  # rotate, shear and shift along both axes, brightness, contrast


class EfficientTrain(Strategy):
    """Show the low frequencies of the images first, as smaller images, and let augmentation grow.

    Wang, Yue, Lu, Liu, Song, Wang, Huang, "EfficientTrain++: Generalized Curriculum Learning for Efficient Visual
    Backbone Training", 2024, https://arxiv.org/abs/2405.08768. The middle of an image's Fourier transform, as wide as
    the wanted side, is transformed back: a smaller image in which the low frequencies are what they were, and nothing
    else is. The side begins at `start`, is halfway to the full one from 60 % of the epochs on and full from 80 % on, as
    in the authors' first schedule (160, 192, 224 pixels; 2211.09703). The magnitude of augmentation grows evenly from 0
    to `augment`.

    Their augmentation is RandAugment. Ours draws two of seven of its operations for each image by itself, with its
    ranges, and does them to the whole batch at once; those that need an image's histogram are left out.
    """

    name = "efficient_train"
    paper = "Wang et al., 2024, https://arxiv.org/abs/2405.08768"
    saves = Saves.TIME
    sites = frozenset({Site.RESOLUTION})
    knobs: ClassVar[Mapping[str, Knob]] = {
        "start": Knob(
            allowed=Range(low=0.1, high=0.95), default=160 / 224, meaning="share of the frequencies to begin with"
        ),
        "augment": Knob(
            allowed=Range(low=0.0, high=STRONGEST),
            default=9.0,
            meaning="magnitude of the augmentation in the end, of RandAugment's 10; 0: none",
        ),
    }
    decisive = frozenset({"start"})

    start: float
    augment: float

    @classmethod
    def check(cls, spec: StudySpec, data: DataFacts) -> None:
        check_epochs(spec, name=cls.name)

    def prepare(self, run: TrainingRun) -> None:
        check_size(run, scaled(run.facts.image_size, self.start), knob="start", name=self.name)

    def start_epoch(self, run: TrainingRun, epoch: int) -> None:
        if epoch and self._size(run, epoch) != self._size(run, epoch - 1):
            run.new_shapes()

    def resume_epoch(self, run: TrainingRun, epoch: int) -> None:
        """Side and magnitude are the epoch's."""

    def batch(self, run: TrainingRun, batch: Batch) -> Batch:
        images_nchw = batch.images_nchw
        magnitude = self.augment / STRONGEST * run.epoch / max(1, run.epochs - 1)
        if magnitude:
            # Of this rank's own generator; always as many numbers, so that it goes on from its state.
            draws = torch.rand(len(images_nchw), 2, 2).to(run.device, non_blocking=True)
            images_nchw = augmented(images_nchw, draws, magnitude, mean=run.facts.mean, std=run.facts.std)
        return Batch(low_frequencies(images_nchw, self._size(run, run.epoch)), batch.labels_n)

    def _size(self, run: TrainingRun, epoch: int) -> tuple[int, int]:
        return scaled(run.facts.image_size, share_of_side(epoch, run.epochs, self.start))


def share_of_side(epoch: int, epochs: int, start: float) -> float:
    """Of the full side in epoch number `epoch`, from 0: the first epoch is at `start`, the last one full."""
    grown = sum(epoch >= max(1 + stage, round(share * epochs)) for stage, share in enumerate(STAGES))
    return 1.0 if epoch + 1 == epochs else start + (1 - start) * grown / len(STAGES)


def low_frequencies(images_nchw: Tensor, size: tuple[int, int]) -> Tensor:
    """The image of that size whose Fourier transform is the middle of the image's own; same mean."""
    full = images_nchw.shape[2:]
    if tuple(full) == size:
        return images_nchw
    spectrum = torch.fft.fftshift(torch.fft.fft2(images_nchw.float()), dim=(2, 3))
    top, left = (old // 2 - new // 2 for old, new in zip(full, size, strict=True))
    middle = spectrum[:, :, top : top + size[0], left : left + size[1]]
    smaller: Tensor = torch.fft.ifft2(torch.fft.ifftshift(middle, dim=(2, 3))).real * (size[0] * size[1] / full.numel())
    layout = torch.channels_last if images_nchw.is_contiguous(memory_format=torch.channels_last) else None
    return smaller.contiguous(memory_format=layout or torch.contiguous_format)


def augmented(
    images_nchw: Tensor, draws: Tensor, magnitude: float, *, mean: tuple[float, ...], std: tuple[float, ...]
) -> Tensor:
    """Normalised images, each with its two operations at that share of the strongest.

    draws: (n, 2, 2), uniform in [0, 1): for each operation its kind, and the direction in which it goes.
    """
    kinds = F.one_hot((draws[..., 0] * KINDS).long(), KINDS)
    signs = torch.where(draws[..., 1] < 0.5, -magnitude, magnitude)
    amounts = (kinds * signs[..., None]).sum(1)  # (n, kinds): both operations together where they are of one kind
    rotate, shear_x, shear_y, shift_x, shift_y, brightness, contrast = amounts.T
    angle = ROTATION * rotate
    rows = [
        torch.stack([angle.cos(), -angle.sin() + SHEAR * shear_x, 2 * SHIFT * shift_x], dim=1),
        torch.stack([angle.sin() + SHEAR * shear_y, angle.cos(), 2 * SHIFT * shift_y], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images_nchw.shape), align_corners=False)
    moved = F.grid_sample(images_nchw, grid, align_corners=False)  # what comes in from outside is the mean colour
    return _toned(moved, 1 + TONE * brightness, 1 + TONE * contrast, mean=mean, std=std)


def _toned(
    images_nchw: Tensor, brightness_n: Tensor, contrast_n: Tensor, *, mean: tuple[float, ...], std: tuple[float, ...]
) -> Tensor:
    """Brightness and contrast are factors on what a pixel shows, from 0 to 1, and not on its normalised value."""
    mean_c, std_c = (torch.tensor(values, device=images_nchw.device)[:, None, None] for values in (mean, std))
    shown = (images_nchw * std_c + mean_c) * brightness_n[:, None, None, None]
    grey = shown.mean((1, 2, 3), keepdim=True)
    return (((shown - grey) * contrast_n[:, None, None, None] + grey).clamp(0, 1) - mean_c) / std_c
