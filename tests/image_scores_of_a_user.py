"""What a user might rank images by: named in a spec as image_scores_of_a_user:darkness."""

import numpy as np
from torch import Tensor


def darkness(images_nchw: Tensor) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    assert str(images_nchw.dtype) == "torch.uint8"
    return -images_nchw.numpy().reshape(len(images_nchw), -1).astype(np.float64).sum(axis=1)


def one_for_all(images_nchw: Tensor) -> Tensor:
    return images_nchw.float().mean()
