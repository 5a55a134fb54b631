"""A user's net that breaks once, in the way that a file beside it asks for; copied into the folder of a search."""

import os
import time
from pathlib import Path

import torch
from torch import Tensor, nn

HERE = Path(__file__).parent
EPOCH_S = (
    0.6  # an epoch on the digits takes less than a tenth of that: the rest is slept, and costs the machine nothing
)


def asked(what: str) -> bool:
    """Whether the file `what` is there; it is taken away, so that one process breaks, once."""
    if not (HERE / what).exists():
        return False
    try:
        (HERE / what).rename(HERE / f"{what}.{os.getpid()}")
    except FileNotFoundError:  # another was faster
        return False
    return True


class Net(nn.Module):
    def __init__(self, inputs: int, classes: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, classes))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        if not self.training:
            return logits
        if asked("nan"):
            return logits * float("nan")
        if asked("eat"):  # more than the kernel gives this process
            held = [torch.ones(2**26) for _ in range(8)]
            return logits + held[0][0] * 0
        if torch.distributed.is_initialized() and torch.distributed.get_rank() == 1 and asked("hang"):
            time.sleep(3600)  # its peers wait in the collective
        return logits


def net(num_classes: int, in_channels: int, image_size: tuple[int, int], width: int = 8) -> nn.Module:
    return Net(in_channels * image_size[0] * image_size[1], num_classes, width)


def pace(model: nn.Module, loader: object) -> float:
    """A metric that only takes its time; and counts the epochs, in a folder that wants to know."""
    time.sleep(EPOCH_S)
    if (HERE / "epochs").exists():
        with (HERE / "epochs").open("a") as file:
            file.write("one\n")
    return 0.0
