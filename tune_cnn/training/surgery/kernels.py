"""Other kernel sizes for convolutions, and other image sizes for the model that they make up."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tune_cnn.training.surgery.shape import replace_module
from tune_cnn.untyped import Untyped

SMALLEST = 3  # a 1×1 kernel would see no neighbours: another kind of layer


def resize_images(images_nchw: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear with antialiasing, in the images' memory format."""
    smaller = F.interpolate(images_nchw, size=size, mode="bilinear", antialias=True, align_corners=False)
    if images_nchw.is_contiguous(memory_format=torch.channels_last) and not images_nchw.is_contiguous():
        return smaller.contiguous(memory_format=torch.channels_last)
    return smaller


def resize_kernels(kernels_oikk: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, times (k/k′)²: each kernel's sum, and so its response to a smooth image, stays as it is."""
    height, width = kernels_oikk.shape[2:]
    resized = F.interpolate(kernels_oikk, size=size, mode="bilinear", align_corners=False)
    return resized * (height * width / (size[0] * size[1]))


def smaller_kernel(convolution: nn.Conv2d, scale: float) -> tuple[int, int] | None:
    """The odd size nearest to `scale` times the convolution's own, 3 at least; None where it wouldn't be smaller."""
    own = convolution.kernel_size
    if any(side % 2 == 0 or side <= SMALLEST for side in own):
        return None
    height, width = (max(SMALLEST, 2 * round((scale * side - 1) / 2) + 1) for side in own)
    return (height, width) if height < own[0] and width < own[1] else None


def with_kernel(convolution: nn.Conv2d, size: tuple[int, int], padding: tuple[int, int] | str) -> nn.Conv2d:
    """A convolution like this one with kernels of another size, empty yet; its bias is the same object."""
    other = nn.utils.skip_init(
        nn.Conv2d,
        convolution.in_channels,
        convolution.out_channels,
        size,
        stride=convolution.stride,
        padding=padding,
        dilation=convolution.dilation,
        groups=convolution.groups,
        bias=False,
        padding_mode=convolution.padding_mode,
        device=convolution.weight.device,
        dtype=convolution.weight.dtype,
    )
    assert isinstance(other, nn.Conv2d)
    other.weight.requires_grad_(convolution.weight.requires_grad)
    other.bias = convolution.bias
    return other.train(convolution.training)


def padding_for(convolution: nn.Conv2d, size: tuple[int, int]) -> tuple[int, int] | str:
    """What keeps the maps as large as they were, as far as there was that much padding."""
    if isinstance(convolution.padding, str):
        return convolution.padding
    sides = zip(convolution.kernel_size, size, convolution.dilation, convolution.padding, strict=True)
    height, width = (max(0, int(padding) - (old - new) // 2 * dilation) for old, new, dilation, padding in sides)
    return (height, width)


def set_kernel(model: nn.Module, name: str, size: tuple[int, int], padding: tuple[int, int] | str) -> nn.Conv2d:
    """Put a convolution with such kernels in the place of the named one; returns it, its kernels zero."""
    convolution = model.get_submodule(name)
    assert isinstance(convolution, nn.Conv2d), name
    other = with_kernel(convolution, size, padding)
    with torch.no_grad():
        other.weight.zero_()
    replace_module(model, name, other)
    return other


def carried_state(state: Mapping[str, Untyped], old: Tensor, size: tuple[int, int]) -> dict[str, Untyped]:
    """The optimizer's memory of a kernel's gradients, for kernels of another size.

    Interpolated and no more: a tap between two others would have had a gradient between theirs.
    """
    carried = dict(state)
    for key, value in state.items():
        if isinstance(value, Tensor) and value.shape == old.shape:
            carried[key] = F.interpolate(value, size=size, mode="bilinear", align_corners=False)
    return carried


class ImageResize:
    """Resizes what the model is given, in training and evaluation alike: a forward pre-hook of the model itself."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def __call__(self, _: nn.Module, args: tuple[Untyped, ...]) -> tuple[Untyped, ...]:
        images_nchw, *rest = args
        return (resize_images(images_nchw, self.size), *rest)


def set_image_size(model: nn.Module, size: tuple[int, int] | None) -> None:
    """Let the model see every image at this size; None: as it comes."""
    hooks = model._forward_pre_hooks
    for key in [key for key, hook in hooks.items() if isinstance(hook, ImageResize)]:
        del hooks[key]
    if size is not None:
        model.register_forward_pre_hook(ImageResize(size))
