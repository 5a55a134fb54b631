"""The order of an array's dimensions: NHW, NHWC or NCHW, told from its shape."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tune_cnn.errors import DataError
from tune_cnn.training.data.readers import Uint8

Order = Literal["NHW", "NHWC", "NCHW"]
COLOURS = (1, 2, 3, 4)  # channels of grey and colour, each with and without transparency


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Of all arrays of a file alike."""

    order: Order
    image_shape: tuple[int, int, int]  # channels, height, width of the first array's
    sizes: frozenset[tuple[int, int]]  # heights and widths of all

    @property
    def note(self) -> str:
        channels, height, width = self.image_shape
        return f"the arrays' dimensions are {self.order}: {channels} channels, {height}×{width} pixels"

    def nchw(self, images: Uint8) -> Uint8:
        if self.order == "NHW":
            return images[:, None]
        return images if self.order == "NCHW" else np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def layout_of(shapes: Mapping[str, tuple[int, ...]], where: str) -> Layout:
    """DataError where the shapes are no images', leave the order open, or don't agree."""
    orders = {name: _order(name, shape, where) for name, shape in shapes.items()}
    chw = {name: _chw(orders[name], shape) for name, shape in shapes.items()}
    first, *others = chw
    for other in others:
        if orders[other] != orders[first] or chw[other][0] != chw[first][0]:
            raise DataError(
                f"data: arrays of {where} must be alike, got {first!r} of shape {shapes[first]} and {other!r} of "
                f"{shapes[other]}"
            )
    return Layout(
        order=orders[first],
        image_shape=chw[first],
        sizes=frozenset((height, width) for _, height, width in chw.values()),
    )


def _chw(order: Order, shape: tuple[int, ...]) -> tuple[int, int, int]:
    if order == "NHW":
        return 1, shape[1], shape[2]
    return (shape[1], shape[2], shape[3]) if order == "NCHW" else (shape[3], shape[1], shape[2])


def _order(name: str, shape: tuple[int, ...], where: str) -> Order:
    """By the dimension that is as small as channels are; of other channels, by the two that are equal."""
    if len(shape) == 3 and min(shape[1:]) > 0:
        return "NHW"
    if len(shape) != 4 or min(shape[1:]) < 1:
        raise DataError(
            f"data: {name!r} of {where} must be images × height × width, with channels before or behind these, got the "
            f"shape {shape}"
        )
    _, second, third, last = shape
    first_small, last_small = second in COLOURS, last in COLOURS
    if first_small == last_small:
        first_small, last_small = third == last != second, second == third != last
    if first_small == last_small:
        raise DataError(
            f"data: the shape {shape} of {name!r} in {where} leaves open which dimension the channels are; write it as "
            "images × height × width × 3, or with three dimensions"
        )
    return "NCHW" if first_small else "NHWC"
