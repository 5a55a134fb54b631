"""DenseNet-BC for small images (Huang et al., "Densely Connected Convolutional Networks", 2016,
https://arxiv.org/abs/1608.06993, section 3).

With depth 100, growth rate 12, three channels and ten classes: 769,162 parameters (the paper's 0.8 M).
"""

import torch
from torch import Tensor, nn

from tune_cnn.errors import ModelError
from tune_cnn.training.models.arguments import at_least

BLOCKS = 3
BOTTLENECK = 4  # the 1×1 convolution of a layer makes 4 × growth rate maps
COMPRESSION = 0.5  # of the maps, a transition keeps half


def _bn_relu_conv(in_channels: int, out_channels: int, kernel: int) -> list[nn.Module]:
    return [
        nn.BatchNorm2d(in_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
    ]


class DenseLayer(nn.Module):
    """`growth_rate` new maps, beside all that came before."""

    def __init__(self, in_channels: int, growth_rate: int) -> None:
        super().__init__()
        inner = BOTTLENECK * growth_rate
        self.new_maps = nn.Sequential(
            *_bn_relu_conv(in_channels, inner, kernel=1), *_bn_relu_conv(inner, growth_rate, kernel=3)
        )

    def forward(self, images_nchw: Tensor) -> Tensor:
        return torch.cat((images_nchw, self.new_maps(images_nchw)), dim=1)


def densenet_bc_100_12(
    *, num_classes: int, in_channels: int, image_size: tuple[int, int], growth_rate: int = 12, depth: int = 100
) -> nn.Module:
    """Three dense blocks of (depth − 4) / 6 layers each."""
    at_least("growth_rate", growth_rate, 1)
    at_least("depth", depth, 10)
    layers_per_block, rest = divmod(depth - 4, 2 * BLOCKS)
    if rest:
        raise ModelError(
            f"depth must be 6n + 4 (10, 16, …, 100, …): three blocks of n two-convolution layers; got {depth}"
        )
    channels = 2 * growth_rate
    layers: list[nn.Module] = [nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)]
    for block in range(BLOCKS):
        for _ in range(layers_per_block):
            layers.append(DenseLayer(channels, growth_rate))
            channels += growth_rate
        if block < BLOCKS - 1:
            kept = int(channels * COMPRESSION)
            layers += [*_bn_relu_conv(channels, kept, kernel=1), nn.AvgPool2d(2)]
            channels = kept
    layers += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(channels, num_classes))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return model
