"""Metrics that read pixels alone (Lasky et al., "What's the Best Mini-batch?")."""

import torch
from torch import Tensor


def intensity(images_nchw: Tensor) -> Tensor:
    """(n, 1) the sum of all pixel values, from 0 to 255 each."""
    return images_nchw.flatten(1).sum(dim=1, dtype=torch.float64)[:, None]


def mean_colour(images_nchw: Tensor) -> Tensor:
    """(n, 3) hue, saturation and value, each from 0 to 1, of the mean colour of RGB images.

    Sorted by hue first, as colours stand on the wheel; red is where the wheel was cut.
    """
    assert images_nchw.shape[1] == 3, "a colour has three channels"
    return hsv(images_nchw.flatten(2).to(torch.float64).mean(dim=2) / 255)


def hsv(rgb_n3: Tensor) -> Tensor:
    """(n, 3) hue, saturation and value of colours in [0, 1]; grey has hue and saturation 0."""
    value_n, brightest_n = rgb_n3.max(dim=1)
    spread_n = value_n - rgb_n3.min(dim=1).values
    grey_n = spread_n == 0
    red_n, green_n, blue_n = (rgb_n3 / spread_n.masked_fill(grey_n, 1)[:, None]).unbind(1)
    sextants_n3 = torch.stack([green_n - blue_n, 2 + blue_n - red_n, 4 + red_n - green_n], dim=1)
    hue_n = sextants_n3.gather(1, brightest_n[:, None])[:, 0] / 6 % 1
    saturation_n = spread_n / value_n.masked_fill(value_n == 0, 1)
    return torch.stack([hue_n.masked_fill(grey_n, 0), saturation_n, value_n], dim=1)
