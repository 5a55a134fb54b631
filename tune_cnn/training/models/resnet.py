"""Residual networks for small images (He et al., "Deep Residual Learning for Image Recognition", 2015,
https://arxiv.org/abs/1512.03385, section 4.2).

With three channels and ten classes: ResNet-20 0.27 M parameters, ResNet-32 0.46 M, ResNet-56 0.85 M.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from tune_cnn.errors import ModelError
from tune_cnn.training.models.arguments import at_least


def shortcut_a(images_nchw: Tensor, out_channels: int, stride: int) -> Tensor:
    """The paper's option A: subsample, and fill the new channels with zeros; no parameters."""
    kept = images_nchw[:, :, ::stride, ::stride] if stride > 1 else images_nchw
    return F.pad(kept, (0, 0, 0, 0, 0, out_channels - images_nchw.shape[1]))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside the shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, images_nchw: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(images_nchw)))))
        if residual.shape == images_nchw.shape:
            return F.relu(residual + images_nchw)
        # The width is read from the maps: strategies that cut or add channels change it.
        return F.relu(residual + shortcut_a(images_nchw, residual.shape[1], self.stride))


def _resnet(num_classes: int, in_channels: int, width: int, blocks: int, *, stem: int, pooled: bool) -> nn.Module:
    """6 × blocks + 2 layers in three stages of `width`, 2 `width` and 4 `width` filters.

    stem: side of the first layer's kernels. pooled: max pooling halves the maps between stages, not a stride.
    """
    at_least("width", width, 1)
    at_least("stem", stem, 1)
    if stem % 2 == 0:
        raise ModelError(f"stem must be odd, got {stem}")
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, width, stem, padding=stem // 2, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    ]
    channels = width
    for stage in range(3):
        for block in range(blocks):
            out_channels = width * 2**stage
            halves = stage > 0 and block == 0
            if halves and pooled:
                layers.append(nn.MaxPool2d(2))
            layers.append(BasicBlock(channels, out_channels, stride=2 if halves and not pooled else 1))
            channels = out_channels
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


def resnet8(
    *,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    width: int = 16,
    stem: int = 3,
    pooled: bool = False,
) -> nn.Module:
    """8 layers, for a first look; `stem` is the side of the first kernels, `pooled` halves maps by max pooling."""
    return _resnet(num_classes, in_channels, width, blocks=1, stem=stem, pooled=pooled)


def resnet20(
    *,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    width: int = 16,
    stem: int = 3,
    pooled: bool = False,
) -> nn.Module:
    """20 layers; `width` is the first stage's number of filters, `stem` and `pooled` as in resnet8."""
    return _resnet(num_classes, in_channels, width, blocks=3, stem=stem, pooled=pooled)


def resnet32(
    *,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    width: int = 16,
    stem: int = 3,
    pooled: bool = False,
) -> nn.Module:
    """32 layers; its arguments are those of resnet20."""
    return _resnet(num_classes, in_channels, width, blocks=5, stem=stem, pooled=pooled)


def resnet56(
    *,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    width: int = 16,
    stem: int = 3,
    pooled: bool = False,
) -> nn.Module:
    """56 layers; its arguments are those of resnet20."""
    return _resnet(num_classes, in_channels, width, blocks=9, stem=stem, pooled=pooled)
