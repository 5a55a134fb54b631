"""Operations that move pixels: one grid_sample a batch, each image by its own crop or matrix."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tune_cnn.training.data.operations.drawn import Composed, Floats
from tune_cnn.training.data.readers import Int64

ATTEMPTS = 10  # at a crop that fits into the image, as torchvision's RandomResizedCrop has them


def random_resized_crop(images_nchw: Tensor, composed: Composed) -> Tensor:
    """A random part of the image, stretched over the whole (Szegedy et al., 2014, https://arxiv.org/abs/1409.4842)."""
    height, width = images_nchw.shape[2:]
    settings = composed.settings
    drawn = composed.uniform("random_resized_crop", 2 * ATTEMPTS + 2)
    boxes_n4 = crop_boxes(drawn, (height, width), scale=settings.crop_scale, ratio=settings.crop_ratio)
    return resized_crops(images_nchw, boxes_n4)


def crop_boxes(drawn: Floats, size: tuple[int, int], *, scale: float, ratio: float) -> Int64:
    """Top, left, height, width of each crop; of its ten attempts the first that fits, else all of the image, cut in its
    middle to the ratio that is allowed."""
    height, width = size
    area_na = height * width * (scale + (1 - scale) * drawn[:, :ATTEMPTS])
    ratio_na = np.exp((2 * drawn[:, ATTEMPTS : 2 * ATTEMPTS] - 1) * np.log(ratio))
    height_n, width_n, fits_n = _first_that_fits(
        np.rint(np.sqrt(area_na / ratio_na)), np.rint(np.sqrt(area_na * ratio_na)), size
    )
    whole_height = min(height, round(width * ratio))
    whole_width = min(width, round(height * ratio))
    height_n, width_n = np.where(fits_n, height_n, whole_height), np.where(fits_n, width_n, whole_width)
    top_n = np.where(fits_n, np.floor(drawn[:, -2] * (height - height_n + 1)), (height - height_n) // 2)
    left_n = np.where(fits_n, np.floor(drawn[:, -1] * (width - width_n + 1)), (width - width_n) // 2)
    return np.stack([top_n, left_n, height_n, width_n], axis=1).astype(np.int64)


def _first_that_fits(
    height_na: Floats, width_na: Floats, size: tuple[int, int]
) -> tuple[Floats, Floats, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    fits_na = (height_na >= 1) & (width_na >= 1) & (height_na <= size[0]) & (width_na <= size[1])
    each, first_n = np.arange(len(fits_na)), fits_na.argmax(axis=1)
    return height_na[each, first_n], width_na[each, first_n], fits_na[each, first_n]


def resized_crops(images_nchw: Tensor, boxes_n4: Int64) -> Tensor:
    """Each box, bilinear, to the image's own size; uint8. A box is never larger, so nothing has to be smoothed."""
    height, width = images_nchw.shape[2:]
    boxes = torch.from_numpy(boxes_n4).to(images_nchw.device, non_blocking=True).float()
    top_n, left_n, box_height_n, box_width_n = (value[:, None] for value in boxes.unbind(1))
    rows = _within(height, box_height_n, top_n)[:, :, None].expand(-1, height, width)
    columns = _within(width, box_width_n, left_n)[:, None, :].expand(-1, height, width)
    return _sampled(images_nchw, torch.stack([columns, rows], dim=3), "border")


def _within(side: int, box_n: Tensor, start_n: Tensor) -> Tensor:
    """Where the pixels of a side are taken from, within the box, from -1 to 1 over the whole image."""
    places = torch.arange(side, device=box_n.device) + 0.5
    taken = (places * (box_n / side) - 0.5).clamp_min(0).minimum(box_n - 1) + start_n
    return (2 * taken + 1) / side - 1


def moved(images_nchw: Tensor, matrices_n6: Floats) -> Tensor:
    """Each image by its own matrix, which says in pixels from the middle where a pixel is taken from; black outside."""
    height, width = images_nchw.shape[2:]
    theta = torch.from_numpy(matrices_n6.astype(np.float32)).to(images_nchw.device, non_blocking=True)
    a, b, c, d, e, f = (value[:, None, None] for value in theta.unbind(1))
    x = (torch.arange(width, device=images_nchw.device) - (width - 1) * 0.5)[None, None, :]
    y = (torch.arange(height, device=images_nchw.device) - (height - 1) * 0.5)[None, :, None]
    grid = torch.stack([(a * x + b * y + c) / (0.5 * width), (d * x + e * y + f) / (0.5 * height)], dim=3)
    return _sampled(images_nchw, grid, "zeros")


def _sampled(images_nchw: Tensor, grid: Tensor, padding: str) -> Tensor:
    found = F.grid_sample(images_nchw.float(), grid, mode="bilinear", padding_mode=padding, align_corners=False)
    return found.round_().clamp_(0, 255).to(torch.uint8)


def matrix(kind: str, amount_n: Floats, size: tuple[int, int]) -> Floats:
    """The matrices (n×6) of a shear (about the corner), shift in whole pixels or rotation in degrees, as torchvision's
    policies have them."""
    height, width = size
    one, none = np.ones_like(amount_n), np.zeros_like(amount_n)
    if kind == "shear_x":
        rows = [one, amount_n, amount_n * height / 2, none, one, none]
    elif kind == "shear_y":
        rows = [one, none, none, amount_n, one, amount_n * width / 2]
    elif kind == "translate_x":
        rows = [one, none, -np.trunc(amount_n), none, one, none]
    elif kind == "translate_y":
        rows = [one, none, none, none, one, -np.trunc(amount_n)]
    else:
        assert kind == "rotate", kind
        angle = np.radians(-amount_n)
        rows = [np.cos(angle), np.sin(angle), none, -np.sin(angle), np.cos(angle), none]
    return np.stack(rows, axis=1)
