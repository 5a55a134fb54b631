"""A small set in colour that needs no download: patches of the photographs that scikit-learn brings.

Named in a spec as search_spaces.photographs:patches. The class is where a patch comes from: which of the two
photographs, and which quarter of it. Patches that follow one another overlap in part, those of the three parts never
do: each part has bands of its own.
"""

from collections.abc import Sequence

import torch
from sklearn.datasets import load_sample_images
from torch import Tensor

SIDE = 32  # pixels of a patch
STEP = 3  # pixels from one patch to the next, along its band
BAND = 34  # pixels from one band of patches to the next
BLANK = 24  # of 256 shades: a patch with fewer shows nothing
TURN = 5  # of so many bands one is for validation and one for the test

Item = tuple[Tensor, int]  # uint8, channels × height × width


def patches(root: object) -> tuple[Sequence[Item], Sequence[Item], Sequence[Item]]:  # noqa: ARG001  (nothing is read from there)
    """Train, validation and test: images of 32×32 pixels in RGB, and their classes from 0 to 7."""
    parts: tuple[list[Item], list[Item], list[Item]] = ([], [], [])
    for photograph, pixels_hwc in enumerate(load_sample_images().images):
        height, width, _ = pixels_hwc.shape
        for band, top in enumerate(range(0, height - SIDE + 1, BAND)):
            part = {1: 1, 3: 2}.get(band % TURN, 0)
            for left in range(0, width - SIDE + 1, STEP if part == 0 else SIDE):
                quarter = 2 * (top >= height // 2) + (left >= width // 2)
                image_hwc = torch.tensor(pixels_hwc[top : top + SIDE, left : left + SIDE])
                image_chw = image_hwc.permute(2, 0, 1).contiguous()
                spread_c = image_chw.amax(dim=(1, 2)).int() - image_chw.amin(dim=(1, 2)).int()
                if spread_c.max() > BLANK:  # else it is sky alone, of which there is much
                    parts[part].append((image_chw, 4 * photograph + quarter))
    return parts
