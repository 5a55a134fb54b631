"""Operations on colours: uint8 in, uint8 out, each image by its own amount, as torchvision's v2 does them to one.

A product and a sum are two steps here, never one fused: so an image comes out the same in whichever batch it stands.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Operation = Callable[[Tensor, Tensor], Tensor]


def brightness(images_nchw: Tensor, factor_n: Tensor) -> Tensor:
    return _as_bytes(images_nchw * _each(factor_n))


def saturation(images_nchw: Tensor, factor_n: Tensor) -> Tensor:
    return _blended(images_nchw, _grey(images_nchw), factor_n)


def contrast(images_nchw: Tensor, factor_n: Tensor) -> Tensor:
    """Around the image's mean grey."""
    grey = _grey(images_nchw)
    mean = grey.double().sum((1, 2, 3), keepdim=True) / grey[0].numel()  # exact: whole numbers
    return _blended(images_nchw, mean.float(), factor_n)


def sharpness(images_nchw: Tensor, factor_n: Tensor) -> Tensor:
    """Away from what a small blur makes of it; the edge's pixels stay."""
    if min(images_nchw.shape[2:]) <= 2:
        return images_nchw
    images = images_nchw.float()
    rows = images[:, :, :-2] + images[:, :, 1:-1] + images[:, :, 2:]
    nine = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    inner = images[:, :, 1:-1, 1:-1]
    blurred = ((nine + 4 * inner) / 13).round()
    images[:, :, 1:-1, 1:-1] = inner + (1 - _each(factor_n)) * (blurred - inner)
    return _as_bytes(images)


def posterize(images_nchw: Tensor, bits_n: Tensor) -> Tensor:
    return images_nchw & _each(256 - 2 ** (8 - bits_n)).to(torch.uint8)


def solarize(images_nchw: Tensor, threshold_n: Tensor) -> Tensor:
    """The negative of what is at least so bright, 1 being white."""
    return torch.where(images_nchw >= 255 * _each(threshold_n), 255 - images_nchw, images_nchw)


def autocontrast(images_nchw: Tensor, _: Tensor) -> Tensor:
    """By channel, from black to white."""
    images = images_nchw.float()
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    flat = high == low
    low, over = low.masked_fill(flat, 0), ((high - low) * (1 / 255)).masked_fill(flat, 1)
    return _as_bytes((images - low) / over)


def equalize(images_nchw: Tensor, _: Tensor) -> Tensor:
    """By channel, so that all shades are about as frequent; with Pillow's rounding."""
    count, channels, height, width = images_nchw.shape
    shades = images_nchw.reshape(count * channels, -1).long()
    own = torch.arange(count * channels, device=shades.device)[:, None] * 256
    index = (shades + own).flatten()
    counts = torch.zeros(count * channels * 256, dtype=torch.int64, device=shades.device)
    # One axis: torch has a deterministic way for that on a GPU.
    counts = counts.scatter_add(0, index, torch.ones_like(index)).view(-1, 256)
    up_to = counts.cumsum(1)
    last = counts.gather(1, up_to.argmax(1, keepdim=True))  # of the brightest shade that there is
    step = (height * width - last) // 255
    table = ((up_to[:, :-1] + step // 2) // step.clamp_min(1)).clamp(0, 255)
    table = torch.cat([torch.zeros_like(table[:, :1]), table], dim=1)
    made = torch.where(step > 0, table.gather(1, shades), shades)
    return made.to(torch.uint8).view_as(images_nchw)


def hue(images_nchw: Tensor, shift_n: Tensor) -> Tensor:
    """Turned by a share of the circle of hues; each channel by f(k) = v − v·s·max(0, min(t, 4 − t, 1)), t = k + 6h."""
    images = images_nchw.float() / 255
    value, least = images.amax(1), images.amin(1)
    spread = value - least
    safe = torch.where(spread == 0, 1, spread)
    red, green, blue = images.unbind(1)
    sixth = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    turned = sixth + 6 * shift_n[:, None, None]
    channels = []
    for k in (5, 3, 1):
        t = turned + k
        t = t - 6 * torch.floor(t / 6)
        channels.append(value - spread * torch.minimum(t, 4 - t).clamp(0, 1))
    made = torch.stack(channels, dim=1)
    return (made * (256 - 1e-3)).clamp(0, 255).to(torch.uint8)  # as torchvision comes back from [0, 1]


OPERATIONS: Mapping[str, Operation] = {
    "brightness": brightness,
    "color": saturation,
    "contrast": contrast,
    "sharpness": sharpness,
    "posterize": posterize,
    "solarize": solarize,
    "auto_contrast": autocontrast,
    "equalize": equalize,
    "hue": hue,
}


def _each(values_n: Tensor) -> Tensor:
    return values_n[:, None, None, None]


def _grey(images_nchw: Tensor) -> Tensor:
    """What torchvision takes for the brightness of a pixel, in whole numbers."""
    red, green, blue = images_nchw.unbind(1)
    return ((red * 0.2989 + green * 0.587) + blue * 0.114).floor()[:, None]


def _blended(images_nchw: Tensor, other: Tensor, share_n: Tensor) -> Tensor:
    """That share of the images, which may be above 1, and the rest of the other."""
    share = _each(share_n)
    return _as_bytes(images_nchw * share + other * (1 - share))


def _as_bytes(images: Tensor) -> Tensor:
    return images.clamp(0, 255).to(torch.uint8)
