"""One item of a user's data set: held against (uint8 CHW tensor, int)."""

from dataclasses import dataclass

import numpy as np
import torch

from tune_cnn.errors import DataError
from tune_cnn.text import printable
from tune_cnn.training.data.readers import Uint8
from tune_cnn.training.data.sources.resize import resize_array
from tune_cnn.training.data.sources.source import PartName
from tune_cnn.untyped import Untyped


@dataclass(frozen=True, kw_only=True)
class Item:
    image_chw: Uint8
    label: int


LINE_END = "\n"


def raised(name: str, where: str, error: Exception) -> DataError:
    """The user's code raised: say where and what."""
    return DataError(f"data {name!r}: {where} raised {type(error).__name__}: {printable(str(error), keep=LINE_END)}")


def read_item(name: str, part: str, dataset: Untyped, number: int, side: int | None) -> Item:
    """One checked item, resized."""
    try:
        raw = dataset[number]
    except Exception as error:  # the user's code may raise anything
        raise raised(name, f"{part}[{number}]", error) from error
    item = check_item(name, f"{part}[{number}]", raw)
    return Item(image_chw=resize_array(item.image_chw, side), label=item.label)


def check_item(name: str, where: str, raw: object) -> Item:
    """The item, or a DataError that says what came instead."""
    wanted = "an item must be (uint8 tensor of channels × height × width, int)"
    if not isinstance(raw, tuple | list) or len(raw) != 2:
        what = f"{len(raw)} values" if isinstance(raw, tuple | list) else type(raw).__name__
        raise DataError(f"data {name!r}: {wanted}, got {what} at {where}")
    image, label = raw
    if not isinstance(image, torch.Tensor):
        raise DataError(f"data {name!r}: {wanted}, got an image of type {type(image).__name__} at {where}")
    if image.dtype != torch.uint8 or image.ndim != 3 or not image.numel():
        raise DataError(
            f"data {name!r}: {wanted}, got {str(image.dtype).removeprefix('torch.')} of shape {tuple(image.shape)} "
            f"at {where}; give pixels of 0 to 255, unnormalised"
        )
    if _channels_last(*image.shape):
        raise DataError(
            f"data {name!r}: {wanted}, got {tuple(image.shape)} at {where}, which is height × width × channels; "
            "give image.permute(2, 0, 1)"
        )
    return Item(image_chw=image.detach().cpu().numpy(), label=_label(name, where, label))


def _channels_last(first: int, second: int, last: int) -> bool:
    """Whether it is no image of many channels that is 3 or 4 pixels wide. A signal of some sensors may be 1 wide."""
    return min(first, second) > 4 and (last in {3, 4} or (last == 1 and first == second))


def _label(name: str, where: str, label: object) -> int:
    if isinstance(label, torch.Tensor) and label.ndim == 0 and not label.dtype.is_floating_point:
        label = label.item()
    if isinstance(label, bool | np.bool_) or not isinstance(label, int | np.integer):
        shown = f"{type(label).__name__} {label!r}"
        raise DataError(f"data {name!r}: a label must be an int from 0, got {shown:.100} at {where}")
    if not -(2**63) <= label < 2**63:
        raise DataError(f"data {name!r}: a label must be an int from 0, got {label!r:.40} at {where}")
    return int(label)


class UserReader:
    """Items by number, through all parts; the user's data sets travel to the loader processes by pickle."""

    parallel = False  # the user's code was never promised to be asked by several threads

    def __init__(self, name: str, datasets: dict[PartName, Untyped], side: int | None, drawn: str) -> None:
        self.name = name
        self.drawn = drawn  # hash of what the factory gave
        self.datasets = datasets
        self.side = side

    def image(self, row: int) -> Uint8:
        number = row
        for part, dataset in self.datasets.items():
            if number < len(dataset):
                return read_item(self.name, part, dataset, number, self.side).image_chw
            number -= len(dataset)
        raise IndexError(row)
