"""A model, data and a metric, named in a spec as mylab.parts:net, mylab.parts:data, mylab.parts:worst_class."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from tune_cnn import Batch


def net(num_classes: int, in_channels: int, image_size: tuple[int, int], width: int = 32) -> nn.Module:
    """Two layers; `model.width` in the space."""
    height, breadth = image_size
    inputs = in_channels * height * breadth
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, num_classes))


class Stripes(Dataset[tuple[Tensor, int]]):
    """Images of one bright column, which is their class."""

    classes = ("left", "middle", "right")

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        label = index % len(self.classes)
        image_chw = torch.zeros(1, 6, 6, dtype=torch.uint8)
        image_chw[:, :, 2 * label] = 255
        return image_chw, label


def data(root: str) -> tuple[Stripes, Stripes | None, Stripes | None]:
    """Training images; validation and test are split off."""
    return Stripes(120), None, None


def worst_class(model: nn.Module, loader: Iterable[Batch]) -> float:
    """The accuracy of the class that is told worst."""
    right: dict[int, list[bool]] = {}
    for images_nchw, labels_n in loader:
        for label, answer in zip(labels_n.tolist(), model(images_nchw).argmax(dim=1).tolist(), strict=True):
            right.setdefault(label, []).append(label == answer)
    return min(sum(answers) / len(answers) for answers in right.values())
