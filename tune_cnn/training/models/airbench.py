"""The network of airbench94 (Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024,
https://arxiv.org/abs/2404.00498), written from the paper.

With three channels, ten classes and 64 filters: 1.97 M parameters.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tune_cnn.errors import ModelError
from tune_cnn.training.models.arguments import at_least

STEM = 2  # side of the first layer's kernels
WIDENING = 4  # the second and third groups have so many times the first one's filters
NORM_MOMENTUM = 0.4  # share of a batch in the running statistics, as torch counts it: few steps must settle them
NORM_EPS = 1e-12
VIEWS = (1, 2, 6)
SMALLEST_SIDE = STEM - 1 + 2**3  # three poolings leave one row


def airbench94(
    *,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    width: int = 64,
    output_scale: float = 1 / 9,
    views: int = 1,
) -> nn.Module:
    """Three groups of two convolutions behind a layer that is made for the strategy `whitening`.

    `width` filters in the first group, four times as many in the others; `output_scale` multiplies the logits.
    `views` of an image whose logits are averaged in evaluation: 1; 2 with its mirror image; 6 with both shifted by a
    pixel too (the paper's multi-crop evaluation). Their time is evaluation's, and inference's.
    """
    at_least("width", width, 1)
    if views not in VIEWS:
        raise ModelError(f"views must be {', '.join(map(str, VIEWS[:-1]))} or {VIEWS[-1]}, got {views!r}")
    if min(image_size) < SMALLEST_SIDE:
        raise ModelError(f"images must be {SMALLEST_SIDE}×{SMALLEST_SIDE} at least, as three poolings halve them")
    return Airbench(num_classes, in_channels, width, output_scale=output_scale, views=views)


class Airbench(nn.Module):
    """Whitened patches, three groups, the peak of each map, one linear layer without bias."""

    def __init__(self, num_classes: int, in_channels: int, width: int, *, output_scale: float, views: int) -> None:
        super().__init__()
        whitened = 2 * in_channels * STEM**2  # every direction of a patch, and its opposite
        widths = (width, WIDENING * width, WIDENING * width)
        self.stem = nn.Conv2d(in_channels, whitened, STEM)
        self.groups = nn.Sequential(
            *(_group(before, after) for before, after in zip((whitened, *widths), widths, strict=False))
        )
        self.head = nn.Linear(widths[-1], num_classes, bias=False)
        self.output_scale, self.views = output_scale, views

    def forward(self, images_nchw: Tensor) -> Tensor:
        if self.training or self.views == 1:
            return self._logits(images_nchw)
        logits = self._both_ways(images_nchw)
        if self.views == max(VIEWS):
            height, width = images_nchw.shape[-2:]
            framed = F.pad(images_nchw, (1, 1, 1, 1), mode="reflect")
            up_left, down_right = framed[..., :height, :width], framed[..., 2:, 2:]
            logits = 0.5 * logits + 0.25 * (self._both_ways(up_left) + self._both_ways(down_right))
        return logits

    def _both_ways(self, images_nchw: Tensor) -> Tensor:
        return 0.5 * (self._logits(images_nchw) + self._logits(images_nchw.flip(-1)))

    def _logits(self, images_nchw: Tensor) -> Tensor:
        maps: Tensor = self.groups(F.gelu(self.stem(images_nchw)))
        logits: Tensor = self.head(maps.amax((2, 3)))
        return logits * self.output_scale


def _group(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        _convolution(before, after),
        nn.MaxPool2d(2),
        _norm(after),
        nn.GELU(),
        _convolution(after, after),
        _norm(after),
        nn.GELU(),
    )


def _convolution(before: int, after: int) -> nn.Conv2d:
    """Its first filters pass on what comes, one channel each (the paper's partial identity); the others are drawn."""
    convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(convolution.weight[:before])
    return convolution


def _norm(channels: int) -> nn.BatchNorm2d:
    """Its scale stays 1: only the shift learns."""
    norm = nn.BatchNorm2d(channels, eps=NORM_EPS, momentum=NORM_MOMENTUM)
    norm.weight.requires_grad_(False)
    return norm
