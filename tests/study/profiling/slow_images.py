"""A user's data set whose every reading sleeps, and whose images change, so that none can be kept."""

import time

import torch
from torch import Tensor

SLEEP_S = 0.02  # an image: a step of 16 waits 0.3 s for data, and takes some milliseconds


class Slow:
    """Some grey images of two classes."""

    classes = ("a", "b")

    def __init__(self, count: int) -> None:
        self.labels = [at % 2 for at in range(count)]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, at: int) -> tuple[Tensor, int]:
        time.sleep(SLEEP_S)
        return torch.randint(0, 256, (1, 8, 8), dtype=torch.uint8), self.labels[at]


def slow(root: str) -> tuple[Slow, None, None]:
    return Slow(160), None, None
