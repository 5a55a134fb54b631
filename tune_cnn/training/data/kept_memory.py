"""Memory for batches on a CPU, used again once a batch is gone: pages that the system hands out anew are zeroed first,
which takes four times as long as normalising the images into them."""

import weakref

import numpy as np
import torch
from numpy.typing import NDArray

KEPT = 2  # one batch is trained on while the next one is made
ALIGNED_BYTES = 64  # as torch's own memory is

Float32 = NDArray[np.float32]


class KeptMemory:
    """float32 tensors, of which the memory of the last few that are gone is kept."""

    def __init__(self) -> None:
        self._free: list[Float32] = []

    def empty(self, shape: torch.Size, memory_format: torch.memory_format) -> torch.Tensor:
        """NCHW, its values undefined.

        torch keeps the array that a tensor is made of as long as anything has its storage (a view, a graph for the
        backward pass), so when this array is gone, nobody can see the memory.
        """
        numbers = shape.numel()
        kept = [whole for whole in (self._free.pop() for _ in range(len(self._free))) if whole.size >= numbers]
        whole = kept.pop() if kept else _aligned(numbers)
        self._free += kept
        array = whole[:numbers]
        weakref.finalize(array, self._keep, whole).atexit = False
        count, channels, height, width = shape
        if memory_format == torch.channels_last:
            return torch.from_numpy(array).view(count, height, width, channels).permute(0, 3, 1, 2)
        return torch.from_numpy(array).view(shape)

    def _keep(self, whole: Float32) -> None:
        if len(self._free) < KEPT:
            self._free.append(whole)


def _aligned(numbers: int) -> Float32:
    """By numpy, which asks the system for large pages."""
    spare = ALIGNED_BYTES // np.dtype(np.float32).itemsize
    found = np.empty(numbers + spare, np.float32)
    start = -found.ctypes.data % ALIGNED_BYTES // found.itemsize
    return found[start : start + numbers]
