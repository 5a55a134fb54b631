"""Residual networks for small images (He et al., "Deep Residual Learning for Image Recognition", 2015,
https://arxiv.org/abs/1512.03385, section 4.2).

With three channels and ten classes: ResNet-20 0.27 M parameters, ResNet-32 0.46 M, ResNet-56 0.85 M.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from tune_cnn.errors import ModelError
from tune_cnn.training.models.arguments import Factory, at_least


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


def _resnet(blocks: int) -> Factory:
    """6 × blocks + 2 layers in three stages."""

    def network(
        *,
        num_classes: int,
        in_channels: int,
        image_size: tuple[int, int],
        width: int = 16,
        stem: int = 3,
        pooled: bool = False,
    ) -> nn.Module:
        """Stages of `width`, 2 `width` and 4 `width` filters; `stem` is the side of the first layer's kernels.

        pooled: max pooling halves the maps between stages, not a stride.
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

    return network


resnet8, resnet20, resnet32, resnet56 = map(_resnet, (1, 3, 5, 9))  # the first is no net of the paper's: a first look
