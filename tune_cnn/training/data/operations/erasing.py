"""Random erasing (Zhong et al., 2017, https://arxiv.org/abs/1708.04896): a box of some images shows nothing."""

import numpy as np
import torch
from torch import Tensor

from tune_cnn.training.data.operations.drawn import Composed, Floats
from tune_cnn.training.data.readers import Int64

ATTEMPTS = 10
SCALE, RATIO = (0.02, 0.33), (0.3, 3.3)  # of the area; of height over width: torchvision's defaults


def random_erasing(images_nchw: Tensor, composed: Composed) -> Tensor:
    """The box becomes the mean colour, which is 0 once it is normalised, as torchvision's recipes erase."""
    size = (images_nchw.shape[2], images_nchw.shape[3])
    settings = composed.settings
    boxes_n4 = erased_boxes(composed.uniform("random_erasing", 2 * ATTEMPTS + 3), size, settings.erasing_probability)
    return erased(images_nchw, boxes_n4, settings.mean_colour)


def erased_boxes(drawn: Floats, size: tuple[int, int], probability: float) -> Int64:
    """Top, left, height, width; of no height where an image is left as it is, or where no attempt fits."""
    height, width = size
    area_na = height * width * (SCALE[0] + (SCALE[1] - SCALE[0]) * drawn[:, :ATTEMPTS])
    low, high = np.log(RATIO)
    ratio_na = np.exp(low + (high - low) * drawn[:, ATTEMPTS : 2 * ATTEMPTS])
    height_na, width_na = np.rint(np.sqrt(area_na * ratio_na)), np.rint(np.sqrt(area_na / ratio_na))
    fits_na = (height_na < height) & (width_na < width)
    each, first_n = np.arange(len(drawn)), fits_na.argmax(axis=1)
    erases_n = fits_na.any(axis=1) & (drawn[:, -3] < probability)
    height_n, width_n = height_na[each, first_n], width_na[each, first_n]
    top_n = np.floor(drawn[:, -2] * (height - height_n + 1))
    left_n = np.floor(drawn[:, -1] * (width - width_n + 1))
    boxes = np.stack([top_n, left_n, height_n, width_n], axis=1)
    return np.where(erases_n[:, None], boxes, 0).astype(np.int64)


def erased(images_nchw: Tensor, boxes_n4: Int64, colour: tuple[int, ...]) -> Tensor:
    """Images in which each one's box has this colour."""
    height, width = images_nchw.shape[2:]
    device = images_nchw.device
    boxes = torch.from_numpy(boxes_n4).to(device, non_blocking=True)
    top, left, box_height, box_width = (value[:, None, None, None] for value in boxes.unbind(1))
    rows = torch.arange(height, device=device)[None, None, :, None]
    columns = torch.arange(width, device=device)[None, None, None, :]
    inside = (rows >= top) & (rows < top + box_height) & (columns >= left) & (columns < left + box_width)
    fill = torch.tensor(colour, dtype=torch.uint8).to(device, non_blocking=True)[None, :, None, None]
    return torch.where(inside, fill, images_nchw)
