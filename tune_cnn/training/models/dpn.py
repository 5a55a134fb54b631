"""Dual path networks (Chen et al., 2017, https://arxiv.org/abs/1707.01629), DPN-92 for small images.

The stages are those of the paper's table 1; for small images, as is usual, a 3×3 convolution of stride 1 stands in for
the 7×7 stem and its pooling, and a stage's first projection opens one dense increment rather than two. That makes
34,236,634 parameters at three channels and ten classes (the paper's ImageNet network has 37.8 M, of them 2.7 M in its
thousand-class output).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEM_CHANNELS = 64
GROUPS = 32


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One row of the paper's table 1."""

    blocks: int
    inner: int  # filters of the bottleneck's 1×1 and grouped 3×3 convolutions
    residual: int  # maps of the residual path
    increment: int  # maps that each block adds to the dense path
    stride: int


DPN92 = (
    Stage(blocks=3, inner=96, residual=256, increment=16, stride=1),
    Stage(blocks=4, inner=192, residual=512, increment=32, stride=2),
    Stage(blocks=20, inner=384, residual=1024, increment=24, stride=2),
    Stage(blocks=3, inner=768, residual=2048, increment=128, stride=2),
)


def _conv_bn(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
    ]


class DualPathBlock(nn.Module):
    """A grouped bottleneck whose first maps are added to the residual path and whose rest extends the dense path."""

    def __init__(self, in_channels: int, stage: Stage, *, first: bool) -> None:
        super().__init__()
        self.residual = stage.residual
        stride = stage.stride if first else 1
        made = stage.residual + stage.increment
        self.projection = nn.Sequential(*_conv_bn(in_channels, made, 1, stride)) if first else nn.Identity()
        self.bottleneck = nn.Sequential(
            *_conv_bn(in_channels, stage.inner, 1),
            nn.ReLU(inplace=True),
            *_conv_bn(stage.inner, stage.inner, 3, stride, GROUPS),
            nn.ReLU(inplace=True),
            *_conv_bn(stage.inner, made, 1),
        )
        self.out_channels = (made if first else in_channels) + stage.increment

    def forward(self, images_nchw: Tensor) -> Tensor:
        path = self.projection(images_nchw)
        made = self.bottleneck(images_nchw)
        split = self.residual
        added = path[:, :split] + made[:, :split]
        return F.relu(torch.cat((added, path[:, split:], made[:, split:]), dim=1))


def dpn92(*, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> nn.Module:
    """DPN-92 with a stem for small images."""
    layers: list[nn.Module] = [*_conv_bn(in_channels, STEM_CHANNELS, 3), nn.ReLU(inplace=True)]
    channels = STEM_CHANNELS
    for stage in DPN92:
        for block in range(stage.blocks):
            layer = DualPathBlock(channels, stage, first=block == 0)
            layers.append(layer)
            channels = layer.out_channels
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model
