"""Three convolutions for images of about 8×8, small enough to train on a CPU in seconds."""

from torch import nn

from tune_cnn.training.models.arguments import at_least


def _conv_bn_relu(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]


def small_cnn(*, num_classes: int, in_channels: int, image_size: tuple[int, int], width: int = 16) -> nn.Module:
    """`width` filters in the first two convolutions, twice as many in the third; any image from 2×2 up."""
    at_least("width", width, 1)
    return nn.Sequential(
        *_conv_bn_relu(in_channels, width),
        *_conv_bn_relu(width, width),
        nn.MaxPool2d(2),
        *_conv_bn_relu(width, 2 * width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, num_classes),
    )
