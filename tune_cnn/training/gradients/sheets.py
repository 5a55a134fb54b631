"""A mini-batch to look at: its first images side by side, as a PNG."""

import io

import numpy as np
from PIL import Image

from tune_cnn.training.data.readers import Uint8

MOST_IMAGES, IN_A_ROW = 16, 8
SIDE = 32  # pixels that a larger image is shrunk to: a page shows some dozens of sheets
GAP = 1


def sheet(images_nchw: Uint8) -> bytes:
    """The first images, shrunk where they are large; grey ones as grey, of more channels than three the first three."""
    tiles = [_tile(image) for image in images_nchw[:MOST_IMAGES]]
    width, height = tiles[0].size
    columns, rows = min(IN_A_ROW, len(tiles)), -(-len(tiles) // IN_A_ROW)
    page = Image.new("RGB", (columns * (width + GAP) - GAP, rows * (height + GAP) - GAP), "white")
    for number, tile in enumerate(tiles):
        page.paste(tile, (number % IN_A_ROW * (width + GAP), number // IN_A_ROW * (height + GAP)))
    written = io.BytesIO()
    page.save(written, "PNG", optimize=True)
    return written.getvalue()


def _tile(image_chw: Uint8) -> Image.Image:
    channels = image_chw if len(image_chw) >= 3 else image_chw[:1]
    shown_hwc = np.moveaxis(np.repeat(channels, 3, axis=0) if len(channels) == 1 else channels[:3], 0, -1)
    tile = Image.fromarray(np.ascontiguousarray(shown_hwc))
    if max(tile.size) > SIDE:
        tile.thumbnail((SIDE, SIDE))
    return tile
