"""One image file: decoded by Pillow to RGB of a given side."""

from pathlib import Path

import numpy as np
from PIL import Image

from tune_cnn.errors import DataError
from tune_cnn.text import printable
from tune_cnn.training.data.readers import Uint8
from tune_cnn.training.data.sources.resize import resize_image


def decode(path: Path, side: int) -> Uint8:
    """The file as uint8, 3 × side × side; whatever Pillow raises where it can't be read."""
    with Image.open(path) as image:
        rgb = to_rgb(image)
    return np.ascontiguousarray(np.asarray(resize_image(rgb, side)).transpose(2, 0, 1))


def probe(path: Path) -> None:
    """Read the file's head alone."""
    with Image.open(path) as image:
        if image.mode == "F":
            raise ValueError("its pixels are floating-point numbers, of unknown range")


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB: grey is repeated, transparency dropped, 16 bits brought to 8 (Pillow would cut them off)."""
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, of unknown range")
    if image.mode.startswith("I"):
        shades = np.clip(np.asarray(image), 0, 2**16 - 1).astype(np.uint16) >> 8
        image = Image.fromarray(shades.astype(np.uint8))
    return image.convert("RGB")


class FolderReader:
    """Files by number."""

    parallel = True

    def __init__(self, root: Path, paths: tuple[str, ...], side: int) -> None:
        self.root = root
        self.paths = paths
        self.side = side

    def image(self, row: int) -> Uint8:
        path = self.root / self.paths[row]
        try:
            return decode(path, self.side)
        except Exception as error:  # Pillow's decoders raise many kinds
            raise DataError(
                f"data: {printable(str(path))} can't be read ({type(error).__name__}: {printable(str(error))}); repair "
                "or remove it and start again"
            ) from error
