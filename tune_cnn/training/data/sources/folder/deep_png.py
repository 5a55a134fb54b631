"""PNG files of 16 bits a channel, read by torchvision: Pillow keeps the upper 8 bits of coloured ones."""

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.io import ImageReadMode, decode_image


def read_png(content: bytes) -> NDArray[np.uint16]:
    """All channels, alpha last where there is one: channels × height × width."""
    data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    return np.asarray(decode_image(data, ImageReadMode.UNCHANGED).numpy(), np.uint16)
