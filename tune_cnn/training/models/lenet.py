"""LeNet-5 (LeCun et al., "Gradient-based learning applied to document recognition", 1998,
http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf).

As in common use today: ReLU and max-pooling, every map of the second convolution connected to all of the first, and a
linear output: 61,706 parameters at 28×28, one channel, ten classes.
"""

from torch import nn

from tune_cnn.errors import ModelError


def _scaled(width: float, units: int) -> int:
    return max(1, round(width * units))


def lenet5(*, num_classes: int, in_channels: int, image_size: tuple[int, int], width: float = 1.0) -> nn.Module:
    """`width` multiplies every hidden layer (6 and 16 maps, 120 and 84 units); images from 12×12 up."""
    if isinstance(width, bool) or not isinstance(width, int | float) or not 0 < width < float("inf"):
        raise ModelError(f"width must be a number above 0, got {width!r}")
    # 28×28 padded by 2 is the paper's 32×32; each stage is a 5×5 convolution and a halving.
    height, breadth = (((side + 4 - 4) // 2 - 4) // 2 for side in image_size)
    if height < 1 or breadth < 1:
        raise ModelError(f"images must be at least 12×12, got {image_size[0]}×{image_size[1]}")
    maps1, maps2, units1, units2 = (_scaled(width, units) for units in (6, 16, 120, 84))
    return nn.Sequential(
        nn.Conv2d(in_channels, maps1, 5, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(maps1, maps2, 5),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(maps2 * height * breadth, units1),
        nn.ReLU(inplace=True),
        nn.Linear(units1, units2),
        nn.ReLU(inplace=True),
        nn.Linear(units2, num_classes),
    )
