"""Canny's edge detector over a whole batch (Canny, "A computational approach to edge detection", 1986,
https://doi.org/10.1109/TPAMI.1986.4767851).

With the conventions of scikit-image's `canny`, whose edge maps it repeats: borders are smoothed by what lies inside, an
edge is a local maximum of the gradient between interpolated neighbours, and the outermost pixels are none.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

SIGMA = 1.0  # pixels
RADIUS = 4  # of the Gaussian, in deviations: what lies beyond is less than rounding
LOW, HIGH = 0.1, 0.2  # gradients between which a pixel is an edge only beside one
LUMA = (0.2125, 0.7154, 0.0721)  # ITU-R BT.709: how bright red, green and blue look


def edges(images_nchw: Tensor) -> Tensor:
    """(n, 1) how many pixels of each image are edges; uint8 images of one or three channels."""
    return canny(grey(images_nchw)).flatten(1).sum(dim=1, dtype=torch.float64)[:, None]


def grey(images_nchw: Tensor) -> Tensor:
    """(n, h, w) brightness from 0 to 1: the luma of three channels, the mean of any other number."""
    scaled_nchw = images_nchw.to(torch.float64) / 255
    if scaled_nchw.shape[1] == 3:
        return torch.einsum("nchw,c->nhw", scaled_nchw, scaled_nchw.new_tensor(LUMA))
    return scaled_nchw.mean(dim=1)


def canny(brightness_nhw: Tensor) -> Tensor:
    """(n, h, w) which pixels are edges."""
    down_nhw, right_nhw = _gradients(_smoothed(brightness_nhw))
    strength_nhw = torch.hypot(down_nhw, right_nhw)
    thin_nhw = _local_maxima(down_nhw, right_nhw, strength_nhw) & (strength_nhw >= LOW)
    return _connected(thin_nhw & (strength_nhw >= HIGH), thin_nhw)


def _smoothed(images_nhw: Tensor) -> Tensor:
    """Blurred; near the border by what lies inside alone."""
    offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=images_nhw.dtype, device=images_nhw.device)
    weights = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    weights /= weights.sum()
    inside_nhw = _correlate(torch.ones_like(images_nhw[:1]), weights, weights, padding=RADIUS)
    return _correlate(images_nhw, weights, weights, padding=RADIUS) / inside_nhw


def _gradients(images_nhw: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel's, downwards and to the right."""
    padded_nhw = F.pad(images_nhw[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    step, mean = padded_nhw.new_tensor([-1.0, 0.0, 1.0]), padded_nhw.new_tensor([1.0, 2.0, 1.0])
    return _correlate(padded_nhw, step, mean, padding=0), _correlate(padded_nhw, mean, step, padding=0)


def _correlate(images_nhw: Tensor, of_rows: Tensor, of_columns: Tensor, *, padding: int) -> Tensor:
    rows = F.conv2d(images_nhw[:, None], of_rows[None, None, :, None], padding=(padding, 0))
    return F.conv2d(rows, of_columns[None, None, None, :], padding=(0, padding))[:, 0]


def _local_maxima(down_nhw: Tensor, right_nhw: Tensor, strength_nhw: Tensor) -> Tensor:
    """Whether no neighbour along the gradient, on either side, is stronger. Never on the border.

    A gradient points between two of the eight neighbours: one straight, one diagonal. Their mean is weighted by how
    near it passes to each.
    """
    steep_nhw = down_nhw.abs() > right_nhw.abs()
    longer = torch.maximum(down_nhw.abs(), right_nhw.abs())
    diagonal_share = torch.minimum(down_nhw.abs(), right_nhw.abs()) / longer.masked_fill(longer == 0, 1)
    falling = down_nhw * right_nhw >= 0  # from the upper left to the lower right, or the reverse
    padded = F.pad(strength_nhw, (1, 1, 1, 1))

    def at(rows: int, columns: int) -> Tensor:
        height, width = strength_nhw.shape[1:]
        return padded[:, 1 + rows : 1 + rows + height, 1 + columns : 1 + columns + width]

    is_maximum = torch.ones_like(steep_nhw)
    for side in (1, -1):
        straight = torch.where(steep_nhw, at(side, 0), at(0, side))
        # beyond the diagonal one lies the same side as the straight one does
        rising = torch.where(steep_nhw, at(side, -side), at(-side, side))
        diagonal = torch.where(falling, at(side, side), rising)
        is_maximum &= diagonal * diagonal_share + straight * (1 - diagonal_share) <= strength_nhw
    is_maximum[:, [0, -1], :] = False
    is_maximum[:, :, [0, -1]] = False
    return is_maximum


def _connected(strong_nhw: Tensor, weak_nhw: Tensor) -> Tensor:
    """Every weak pixel that a chain of weak neighbours joins to a strong one."""
    while True:
        near = F.max_pool2d(strong_nhw[:, None].to(torch.float32), 3, stride=1, padding=1)[:, 0] > 0
        grown_nhw = near & weak_nhw
        if torch.equal(grown_nhw, strong_nhw):
            return grown_nhw
        strong_nhw = grown_nhw
