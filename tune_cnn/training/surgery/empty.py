"""What stands in for a convolution that has lost all its inputs or outputs."""

import torch
from torch import Tensor, nn


class EmptyMaps(nn.Module):
    """Maps of zeros, of the size that the convolution would have made: without weights, without multiplications."""

    zeros: Tensor

    def __init__(self, convolution: nn.Conv2d, maps: int) -> None:
        super().__init__()
        weight = convolution.weight
        self.register_buffer("zeros", torch.zeros(maps, dtype=weight.dtype, device=weight.device))
        self._kernel = convolution.kernel_size
        self._stride = convolution.stride
        self._dilation = convolution.dilation
        self._padding = _both_sides(convolution)

    def forward(self, images_nchw: Tensor) -> Tensor:
        height, width = (
            (side + self._padding[at] - self._dilation[at] * (self._kernel[at] - 1) - 1) // self._stride[at] + 1
            for at, side in enumerate(images_nchw.shape[2:])
        )
        return self.zeros[None, :, None, None].expand(len(images_nchw), -1, height, width).clone()


def _both_sides(convolution: nn.Conv2d) -> tuple[int, ...]:
    """What a convolution adds to the height and to the width."""
    if convolution.padding == "same":
        return tuple(d * (k - 1) for d, k in zip(convolution.dilation, convolution.kernel_size, strict=True))
    if convolution.padding == "valid":
        return (0, 0)
    return tuple(2 * int(side) for side in convolution.padding)
