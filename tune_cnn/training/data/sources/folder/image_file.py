"""One image file as a viewer shows it: upright, in sRGB, its transparent parts over a backdrop; by Pillow."""

import io
from collections.abc import Iterable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from tune_cnn.errors import DataError
from tune_cnn.text import printable
from tune_cnn.training.data.readers import Uint8
from tune_cnn.training.data.sources.depth import Depth, Extent, Shades, depth_of, extent, may_be_deep
from tune_cnn.training.data.sources.folder.deep_tiff import is_inverted, tiff_shades
from tune_cnn.training.data.sources.resize import resize_image

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
ORIENTATION = 0x0112  # in EXIF
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
LIGHT = 192  # a drawing of this mean shade or more is hardly seen on white


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How the files of a folder become arrays."""

    side: int
    max_pixels: int  # width × height of a file; more is refused
    depth: Depth = field(default_factory=Depth)

    def decode(self, path: Path) -> Uint8:
        """The file as uint8, 3 × side × side; whatever Pillow raises where it can't be read."""
        return self.look(path)[0]

    def look(self, path: Path) -> tuple[Uint8, bool]:
        """The same, and whether the file holds several images, of which this is the first."""
        with self.open(path) as image:
            several = bool(getattr(image, "is_animated", False))
            rgb = as_seen(image, path, self.depth)
        return np.ascontiguousarray(np.asarray(resize_image(rgb, self.side)).transpose(2, 0, 1)), several

    def open(self, path: Path) -> Image.Image:
        """The file's head; ValueError where it has too many pixels."""
        return opened(path, self.max_pixels)

    def find_depth(self, paths: Iterable[Path], threads: Executor) -> Depth:
        """Of all of these files; those that can't be read tell nothing here."""
        return depth_of(found for found in threads.map(self._extent, paths) if found is not None)

    def _extent(self, path: Path) -> Extent | None:
        with suppress(Exception):  # what is broken is told when it is decoded
            if may_be_deep(path):
                with self.open(path) as image:
                    shades = deep_shades(image, path)
                    return None if shades is None else extent(shades[0])
        return None


def opened(file: Path | BinaryIO, max_pixels: int) -> Image.Image:
    """An image's head; ValueError where it has too many pixels, whatever Pillow raises where it is none."""
    Image.MAX_IMAGE_PIXELS = None  # the bound is ours, and its message names our key
    # Programs that make images write how into the file, in texts of megabytes.
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
    image = Image.open(file)
    try:
        check_pixels(image, max_pixels)
    except ValueError:
        image.close()
        raise
    return image


def check_pixels(image: Image.Image, max_pixels: int) -> None:
    """ValueError where it has more than may be decoded."""
    if image.width * image.height > max_pixels:
        raise ValueError(f"has {image.width:,} × {image.height:,} pixels, and data.max_pixels is {max_pixels:,}")


def as_seen(image: Image.Image, encoded: Path | bytes, depth: Depth) -> Image.Image:
    """Any image as 8-bit RGB: turned as its EXIF says, its colour profile applied, its first frame where it has more.

    Transparent parts show white, as in most viewers, or black where the drawing is too light to be seen on white.
    """
    deep = deep_shades(image, encoded)  # (before it is loaded)
    orientation = _orientation(image)
    if deep is not None:
        shades, alpha = deep
        extent(shades)  # refuses what are no numbers
        shown = Image.fromarray(depth.to_8_bits(shades))
        shown = ImageOps.invert(shown) if is_inverted(image) else shown
    elif image.has_transparency_data:
        with_alpha = image.convert("RGBA")
        shown, alpha = with_alpha.convert("RGB"), with_alpha.getchannel("A")
    else:
        shown, alpha = image, None
    rgb = _in_srgb(shown, image.info.get("icc_profile"))
    return _turned(rgb if alpha is None else _over_backdrop(rgb, alpha), orientation)


def deep_shades(image: Image.Image, encoded: Path | bytes) -> tuple[Shades, Image.Image | None] | None:
    """Shades of more than 8 bits as they lie in the file, height × width or × 3, and the alpha channel in 8 bits; None
    where there are no more than 8. Of deep colour Pillow keeps 8 bits; of a PNG, torchvision reads them all."""
    if (of_tiff := tiff_shades(image, encoded)) is not None:
        return of_tiff
    if image.mode == "F" or image.mode.startswith("I"):
        return np.asarray(image), None
    if image.format == "PNG" and any("16B" in str(tile[3]) for tile in getattr(image, "tile", ())):
        return _deep_png(encoded if isinstance(encoded, bytes) else encoded.read_bytes())
    return None


def _deep_png(content: bytes) -> tuple[Shades, Image.Image | None]:
    # Imported here: torchvision takes seconds, and hardly a folder has such files.
    shades_chw = import_module("tune_cnn.training.data.sources.folder.deep_png").read_png(content)
    channels = len(shades_chw)
    colours = 1 if channels < 3 else 3
    alpha = Image.fromarray((shades_chw[-1] >> 8).astype(np.uint8)) if channels in (2, 4) else None
    shades = shades_chw[:colours].transpose(1, 2, 0)
    return (shades[..., 0] if colours == 1 else shades), alpha


def _orientation(image: Image.Image) -> int:
    """As EXIF numbers it, of what Pillow gives: it turns some kinds of file by itself as it loads them."""
    image.load()
    with suppress(Exception):  # broken EXIF raises many kinds; viewers show the image as it lies
        return int(image.getexif().get(ORIENTATION, 1))
    return 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """As RGB; through the file's colour profile, where it has one that can be used."""
    if profile and image.mode == "P":
        image = image.convert("RGB")
    if profile and image.mode in {"RGB", "CMYK", "L"}:
        transform = _transform(profile, image.mode)
        if transform is not None:
            return ImageCms.applyTransform(image, transform) or image
    return image.convert("RGB")


@lru_cache(maxsize=64)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    with suppress(ImageCms.PyCMSError, OSError, ValueError):  # a broken profile, or one of another mode
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" not in ImageCms.getProfileDescription(given).lower():
            return ImageCms.buildTransform(given, ImageCms.createProfile("sRGB"), mode, "RGB")
    return None


def _over_backdrop(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    weights = np.asarray(alpha, np.float64)
    light = bool(weights.any()) and np.average(np.asarray(rgb.convert("L")), weights=weights) >= LIGHT
    return Image.composite(rgb, Image.new("RGB", rgb.size, BLACK if light else WHITE), alpha)


class FolderReader:
    """Files by number."""

    parallel = True

    def __init__(self, root: Path, paths: tuple[str, ...], decoding: Decoding) -> None:
        self.root = root
        self.paths = paths
        self.decoding = decoding

    def image(self, row: int) -> Uint8:
        path = self.root / self.paths[row]
        try:
            return self.decoding.decode(path)
        except Exception as error:  # Pillow's decoders raise many kinds
            raise DataError(
                f"data: {printable(str(path))} can't be read ({type(error).__name__}: {printable(str(error))}); repair "
                "or remove it and start again"
            ) from error
