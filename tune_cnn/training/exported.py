"""A trained model that needs none of our code, as it leaves the process that trained it; imports no torch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Program:
    """uint8 images as the data set gives them, of any number, to float32 logits; normalising is part of it."""

    pt2: bytes  # a file that torch.export.load reads
    images_nchw: NDArray[np.uint8]  # some of the test split
    logits_nk: NDArray[np.float32]  # what the model makes of those
    torch_version: str
