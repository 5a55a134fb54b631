"""Pixels that Pillow alone gives cut, wrapped, inverted or not at all, and what a viewer shows of them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from inputs.test_pixels import SIDE, deep_png, scene
from PIL import Image, ImageCms, PngImagePlugin

from tune_cnn.training.data.sources.folder.image_file import Decoding

GREY = scene()[..., 0]


def decoded(path: Path) -> np.ndarray:
    """Height × width × 3, in the range of that file alone."""
    decoding = Decoding(side=SIDE, max_pixels=10**8)
    with ThreadPoolExecutor(1) as threads:
        depth = decoding.find_depth([path], threads)
    return replace(decoding, depth=depth).decode(path).transpose(1, 2, 0).astype(int)


def colour(bits: int, order: str = "<", **how: object) -> Callable[[Path], None]:
    shades = np.rint(scene() * ((2**bits - 1) / 255)).astype(np.uint16)
    return lambda path: tifffile.imwrite(path, shades, photometric="rgb", byteorder=order, **how)


def colour_and_alpha(path: Path) -> None:
    shades = np.dstack([scene().astype(np.uint16) * 16, np.full(GREY.shape, 65535, np.uint16)])
    tifffile.imwrite(path, shades, photometric="rgb", extrasamples=["unassalpha"])


COLOURED = {
    "12 bits": colour(12),
    "14 bits": colour(14),
    "16 bits": colour(16),
    "12 bits, big end first": colour(12, order=">"),
    "12 bits, packed": colour(12, compression="deflate"),
    "12 bits, packed, big end first": colour(12, order=">", compression="deflate"),
    "12 bits in tiles": colour(12, tile=(16, 16)),
    "12 bits and alpha": colour_and_alpha,
}


@pytest.mark.parametrize("write", COLOURED.values(), ids=COLOURED)
def test_a_coloured_tiff_of_16_bits_is_read_with_all_of_them(tmp_path, write):
    """Pillow keeps the upper 8: of 12 bits, 16 shades would be left, and of 14, 64."""
    write(tmp_path / "a.tif")
    np.testing.assert_allclose(decoded(tmp_path / "a.tif"), scene(), atol=1)


def test_a_coloured_tiff_of_16_bits_with_its_colours_apart_is_refused(tmp_path):
    """Pillow would read it as of 8 bits, and show stripes."""
    shades = scene().transpose(2, 0, 1).astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "a.tif", shades, photometric="rgb", planarconfig="separate")
    with pytest.raises(ValueError, match="planar"):
        decoded(tmp_path / "a.tif")


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_tiff_whose_0_is_white_is_turned_round(tmp_path, bits):
    white = 2**bits - 1
    shades = (white - np.rint(GREY * (white / 255))).astype(np.uint8 if bits == 8 else np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", shades, photometric="miniswhite")
    np.testing.assert_allclose(decoded(tmp_path / "a.tif")[..., 0], GREY, atol=1)


@pytest.mark.parametrize(("kind", "low", "high"), [(np.uint32, 0, 2**32 - 1), (np.int8, -128, 127)])
def test_no_shade_wraps_round(tmp_path, kind, low, high):
    """32 bits without a sign, 8 with one: Pillow gives those past its own end as the darkest."""
    shades = np.linspace(low, high, SIDE * SIDE).reshape(SIDE, SIDE)
    tifffile.imwrite(tmp_path / "a.tif", shades.astype(kind))
    np.testing.assert_allclose(decoded(tmp_path / "a.tif")[..., 0].ravel(), np.linspace(0, 255, SIDE * SIDE), atol=2)


@pytest.mark.parametrize("colour_type", [0, 2])
def test_depth_is_found_whatever_the_ending_says(tmp_path, colour_type):
    """A PNG of 12 bits that is named as a JPEG."""
    shades = (GREY if colour_type == 0 else scene()).astype(np.uint16) * 16
    deep_png(tmp_path / "a.jpg", shades, colour_type)
    wanted = np.stack([GREY] * 3, axis=2) if colour_type == 0 else scene()
    np.testing.assert_allclose(decoded(tmp_path / "a.jpg"), wanted, atol=1)


def test_a_png_with_megabytes_of_text_is_an_image(tmp_path):
    """As programs that make images write their settings."""
    text = PngImagePlugin.PngInfo()
    text.add_text("workflow", "x" * 2**21, zip=True)
    Image.fromarray(scene()).save(tmp_path / "a.png", pnginfo=text)
    np.testing.assert_array_equal(decoded(tmp_path / "a.png"), scene())


@pytest.mark.parametrize("opacity", [60, 127, 200])
def test_a_faint_white_drawing_on_nothing_stays_visible(tmp_path, opacity):
    alpha = np.zeros((SIDE, SIDE), np.uint8)
    alpha[4:12, 4:12] = opacity
    white = np.full((SIDE, SIDE), 255, np.uint8)
    Image.fromarray(np.dstack([white, white, white, alpha])).save(tmp_path / "a.png")
    pixels = decoded(tmp_path / "a.png")
    assert pixels[0, 0].tolist() == [0] * 3 and pixels[8, 8].tolist() == [opacity] * 3


def red_and_blue_exchanged() -> bytes:
    """A profile, of sRGB's but for that."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for old, new in ((b"rXYZ", b"????"), (b"bXYZ", b"rXYZ"), (b"????", b"bXYZ"), (b"\0s\0R\0G\0B", b"\0t\0e\0s\0t")):
        profile = profile.replace(old, new)
    return profile


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA"])
def test_a_colour_profile_is_applied(tmp_path, mode):
    image = Image.new("RGB", (SIDE, SIDE), (255, 0, 0))
    (image if mode == "RGB" else image.convert(mode)).save(tmp_path / "a.png", icc_profile=red_and_blue_exchanged())
    np.testing.assert_allclose(decoded(tmp_path / "a.png")[8, 8], (0, 0, 255), atol=3)
