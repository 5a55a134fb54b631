"""torchvision's readers of the sets that it knows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from torchvision import datasets
from torchvision.datasets.utils import extract_archive

from tune_cnn.errors import DataError
from tune_cnn.training.data.readers import Int64, Uint8
from tune_cnn.training.data.sources.published_sets import CIFAR100_CLASSES, KNOWN

__all__ = ["READERS", "extract_archive"]

Part = tuple[Uint8, Int64]
Read = Callable[[Path, bool, bool], Part]  # root, training part?, download?


def _mnist(root: Path, train: bool, download: bool) -> Part:
    raw = datasets.FashionMNIST(root, train=train, download=download)
    assert tuple(raw.classes) == KNOWN["fashion_mnist"].classes
    return raw.data.numpy()[:, None], raw.targets.numpy().astype(np.int64)


def _cifar(kind: type[datasets.CIFAR10]) -> Read:
    def read(root: Path, train: bool, download: bool) -> Part:
        raw = kind(root, train=train, download=download)
        if kind is datasets.CIFAR100 and tuple(raw.classes) != CIFAR100_CLASSES:
            raise DataError(f"data: {root}/{raw.base_folder}/meta names other classes than CIFAR-100 has")
        return np.ascontiguousarray(raw.data.transpose(0, 3, 1, 2)), np.asarray(raw.targets, dtype=np.int64)

    return read


def _svhn(root: Path, train: bool, download: bool) -> Part:
    raw = datasets.SVHN(root, split="train" if train else "test", download=download)
    return np.ascontiguousarray(raw.data), np.asarray(raw.labels, dtype=np.int64)


READERS: dict[str, Read] = {
    "fashion_mnist": _mnist,
    "cifar10": _cifar(datasets.CIFAR10),
    "cifar100": _cifar(datasets.CIFAR100),
    "svhn": _svhn,
}
