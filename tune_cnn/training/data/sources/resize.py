"""Resize to a square: the shorter side first, then the middle, as torchvision's recipes do."""

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as v2

from tune_cnn.training.data.readers import Uint8


def resize_image(image: Image.Image, side: int) -> Image.Image:
    """With antialiasing, bilinear."""
    return v2.center_crop(v2.resize(image, [side], antialias=True), [side, side])


def resize_array(images: Uint8, side: int | None) -> Uint8:
    """uint8 in and out, … × height × width; None leaves them as they are."""
    if side is None or images.shape[-2:] == (side, side):
        return images
    resized = v2.resize(torch.from_numpy(np.ascontiguousarray(images)), [side], antialias=True)
    return v2.center_crop(resized, [side, side]).numpy()
