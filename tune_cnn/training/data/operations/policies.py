"""TrivialAugment, RandAugment and colour jitter: each image by operations of its own, alike ones of a batch together.

TrivialAugment: Müller and Hutter, 2021, https://arxiv.org/abs/2103.10158. RandAugment: Cubuk, Zoph, Shlens, Le, 2019,
https://arxiv.org/abs/1909.13719. Ranges and steps are those of torchvision's v2 (TrivialAugmentWide, RandAugment).
"""

import numpy as np
import torch
from torch import Tensor

from tune_cnn.training.data.operations.colour import OPERATIONS
from tune_cnn.training.data.operations.drawn import Composed, Floats
from tune_cnn.training.data.operations.geometry import matrix, moved
from tune_cnn.training.data.readers import Int64

KINDS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "auto_contrast",
    "equalize",
)
MOVING = KINDS[1:6]
TONES = ("brightness", "color", "contrast", "sharpness")  # amounts are added to the factor 1
BINS = 31  # steps from no effect to the strongest
JITTERS = ("brightness", "contrast", "color", "hue")


def trivial_augment(images_nchw: Tensor, composed: Composed) -> Tensor:
    """One operation of the fourteen, of any strength."""
    drawn = composed.uniform("trivial_augment", 3)
    kinds_n = np.floor(drawn[:, 0] * len(KINDS)).astype(np.int64)
    bins_n = np.floor(drawn[:, 1] * BINS).astype(np.int64)
    return done(images_nchw, kinds_n, amounts(wide(), kinds_n, bins_n, drawn[:, 2]))


def rand_augment(images_nchw: Tensor, composed: Composed) -> Tensor:
    """So many operations of the fourteen, one after another, all of one strength."""
    settings, size = composed.settings, (images_nchw.shape[2], images_nchw.shape[3])
    drawn = composed.uniform("rand_augment", 2 * settings.rand_augment_operations)
    for kind, sign in zip(drawn[:, ::2].T, drawn[:, 1::2].T, strict=True):
        kinds_n = np.floor(kind * len(KINDS)).astype(np.int64)
        bins_n = np.full_like(kinds_n, settings.rand_augment_magnitude)
        images_nchw = done(images_nchw, kinds_n, amounts(usual(size), kinds_n, bins_n, sign))
    return images_nchw


def color_jitter(images_nchw: Tensor, composed: Composed) -> Tensor:
    """Brightness, contrast, saturation and hue, in an order of the image's own."""
    settings, drawn = composed.settings, composed.uniform("color_jitter", 2 * len(JITTERS))
    orders = np.argsort(drawn[:, len(JITTERS) :], axis=1)
    strengths = (
        settings.jitter_brightness,
        settings.jitter_contrast,
        settings.jitter_saturation,
        settings.jitter_hue,
    )
    for turn in range(len(JITTERS)):
        made = images_nchw.clone()
        for number, (name, strength) in enumerate(zip(JITTERS, strengths, strict=True)):
            which_n = np.flatnonzero(orders[:, turn] == number)
            if strength and len(which_n):
                low, high = (-strength, strength) if name == "hue" else (max(0.0, 1 - strength), 1 + strength)
                amounts_n = low + (high - low) * drawn[which_n, number]
                _put(made, images_nchw, name, which_n, amounts_n)
        images_nchw = made
    return images_nchw


def done(images_nchw: Tensor, kinds_n: Int64, amounts_n: Floats) -> Tensor:
    """Each image by the operation of its kind, of its amount; those that move pixels by one grid_sample."""
    made, size = images_nchw.clone(), (images_nchw.shape[2], images_nchw.shape[3])
    matrices = np.zeros((len(kinds_n), 6))
    for name in MOVING:
        which_n = np.flatnonzero(kinds_n == KINDS.index(name))
        matrices[which_n] = matrix(name, amounts_n[which_n], size)
    moving_n = np.flatnonzero(np.isin(kinds_n, [KINDS.index(name) for name in MOVING]))
    if len(moving_n):
        where = _index(moving_n, images_nchw)
        made[where] = moved(images_nchw[where], matrices[moving_n])
    for name in OPERATIONS.keys() & set(KINDS):
        which_n = np.flatnonzero(kinds_n == KINDS.index(name))
        if len(which_n):
            _put(made, images_nchw, name, which_n, amounts_n[which_n] + (name in TONES))
    return made


def amounts(tables: dict[str, Floats], kinds_n: Int64, bins_n: Int64, sign_n: Floats) -> Floats:
    """What an operation's bin comes to; half of those that go both ways go the other one."""
    amounts_n = np.zeros(len(kinds_n))
    for name, table in tables.items():
        which_n = kinds_n == KINDS.index(name)
        way = np.where(sign_n[which_n] < 0.5, -1.0, 1.0) if name in (*MOVING, *TONES) else 1.0
        amounts_n[which_n] = way * table[bins_n[which_n]]
    return amounts_n


def wide() -> dict[str, Floats]:
    """TrivialAugment's amounts by bin, of the wide space."""
    shear, tone = np.linspace(0, 0.99, BINS), np.linspace(0, 0.99, BINS)
    return _tables(shear, (np.linspace(0, 32, BINS),) * 2, np.linspace(0, 135, BINS), tone, least_bits=2)


def usual(size: tuple[int, int]) -> dict[str, Floats]:
    """RandAugment's amounts by bin; shifts are shares of the side."""
    shifts = tuple(np.linspace(0, 150 / 331 * side, BINS) for side in (size[1], size[0]))
    tone = np.linspace(0, 0.9, BINS)
    return _tables(np.linspace(0, 0.3, BINS), shifts, np.linspace(0, 30, BINS), tone, least_bits=4)


def _tables(
    shear: Floats, shifts: tuple[Floats, ...], rotation: Floats, tone: Floats, *, least_bits: int
) -> dict[str, Floats]:
    bits = np.rint(8 - np.arange(BINS) / ((BINS - 1) / (8 - least_bits)))
    moving = dict(zip(MOVING, (shear, shear, *shifts, rotation), strict=True))
    return {**moving, **dict.fromkeys(TONES, tone), "posterize": bits, "solarize": np.linspace(1, 0, BINS)}


def _put(made: Tensor, images_nchw: Tensor, name: str, which_n: Int64, amounts_n: Floats) -> None:
    where = _index(which_n, images_nchw)
    amounts_on_device = torch.from_numpy(amounts_n.astype(np.float32)).to(images_nchw.device, non_blocking=True)
    made[where] = OPERATIONS[name](images_nchw[where], amounts_on_device)


def _index(which_n: Int64, images_nchw: Tensor) -> Tensor:
    return torch.from_numpy(which_n).to(images_nchw.device, non_blocking=True)
