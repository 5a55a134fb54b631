"""Pixels as a viewer shows them: upright, in their depth, over a backdrop, in sRGB, the first of several images."""

import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.training.data.prepare import prepare
from tune_cnn.training.data.sources.depth import Depth, Extent, depth_of
from tune_cnn.training.data.sources.folder.image_file import Decoding

SIDE = 16
DECODING = Decoding(side=SIDE, max_pixels=10**8)


def scene() -> np.ndarray:
    """A picture without symmetry: bright at the top left, reddish at the right."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    grey = 250 - 7 * rows - 6 * columns
    return np.stack([grey + columns, grey // 2, grey // 3], axis=2).astype(np.uint8)


def decoded(path: Path) -> np.ndarray:
    """Height × width × 3."""
    return DECODING.decode(path).transpose(1, 2, 0)


TURNS = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, 1),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: np.rot90(pixels, -1),
}


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", TURNS)
def test_an_image_that_is_stored_turned_is_turned_back(tmp_path, orientation, ending):
    """As EXIF's orientations 1 to 8 say, in every kind of file that has them."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(TURNS[orientation](scene())))
    quality = {"quality": 100, "subsampling": 0} if ending == "jpg" else {"lossless": True} if ending == "webp" else {}
    stored.save(tmp_path / f"a.{ending}", exif=exif, **quality)
    np.testing.assert_allclose(decoded(tmp_path / f"a.{ending}").astype(int), scene().astype(int), atol=8)


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b""])
def test_exif_that_is_broken_leaves_the_image_as_it_lies(tmp_path, exif):
    Image.fromarray(scene()).save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    np.testing.assert_allclose(decoded(tmp_path / "a.jpg").astype(int), scene().astype(int), atol=8)


def deep_png(path: Path, shades: np.ndarray, colour_type: int) -> None:
    """A PNG of 16 bits a channel: 0 grey, 2 RGB, 4 grey and alpha, 6 RGB and alpha."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = shades.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in shades)
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def prepared(root: Path, **data):
    spec = DataSpec(name="image_folder", root=str(root), image_size=SIDE, **data)
    return prepare(spec, split_seed=0, cache_dir=root.parent / "cache")


def folder_of(root: Path, write: Callable[[Path, np.ndarray], None], ending: str) -> None:
    """Two classes of twelve pictures; `write` stores 8-bit shades, height × width, in its own way."""
    for label, name in enumerate(("cat", "dog")):
        (root / "train" / name).mkdir(parents=True)
        for number in range(12):
            shades = np.random.default_rng([label, number]).integers(0, 256, (SIDE, SIDE))
            shades[0, :2] = (0, 255)
            write(root / "train" / name / f"{number}.{ending}", shades)


def all_ways(root: Path) -> list[np.ndarray]:
    """The training images as the cache has them, and as the reader of the files gives them."""
    sets = prepared(root)
    positions = np.arange(len(sets.train))
    return [sets.train.fetch(positions), np.stack([sets.train.reader.image(int(row)) for row in sets.train.rows])]


def wanted(root: Path) -> np.ndarray:
    paths = [prepared(root).train.reader.paths[int(row)] for row in prepared(root).train.rows]
    shades = []
    for path in paths:
        label, number = ("cat", "dog").index(path.split("/")[1]), int(path.split("/")[2].split(".")[0])
        one = np.random.default_rng([label, number]).integers(0, 256, (SIDE, SIDE))
        one[0, :2] = (0, 255)
        shades.append(np.stack([one] * 3))
    return np.stack(shades)


def grey_png(bits: int) -> Callable[[Path, np.ndarray], None]:
    return lambda path, shades: Image.fromarray((shades * (2**bits - 1) // 255).astype(np.uint16)).save(path)


def colour_png(bits: int) -> Callable[[Path, np.ndarray], None]:
    return lambda path, shades: deep_png(path, np.stack([shades * (2**bits - 1) // 255] * 3, axis=2), 2)


def grey_tiff(kind: type, scale: float, offset: float = 0.0) -> Callable[[Path, np.ndarray], None]:
    return lambda path, shades: tifffile.imwrite(path, (shades * scale + offset).astype(kind))


DEEP = [
    *[(f"{bits} bits in a grey PNG of 16", grey_png(bits), "png") for bits in (8, 10, 12, 14, 16)],
    *[(f"{bits} bits in a coloured PNG of 16", colour_png(bits), "png") for bits in (8, 12, 16)],
    ("12 bits in a TIFF of 16", grey_tiff(np.uint16, 4095 / 255), "tif"),
    ("a TIFF of signed 16 bits", grey_tiff(np.int16, 10, -1000), "tiff"),
    ("a TIFF of 32 bits", grey_tiff(np.int32, 1000), "tif"),
    ("a TIFF of real numbers up to 1", grey_tiff(np.float32, 1 / 255), "tif"),
    ("a TIFF of real numbers up to 255", grey_tiff(np.float32, 1), "tif"),
    ("a TIFF of real numbers on both sides of 0", grey_tiff(np.float32, 1 / 127.5, -1), "tif"),
]


@pytest.mark.parametrize(("write", "ending"), [case[1:] for case in DEEP], ids=[case[0] for case in DEEP])
def test_deep_shades_fill_the_range_whatever_bits_they_fill_in_the_file(tmp_path, write, ending):
    """One range for the folder; the cache and the reader of the files give the same."""
    folder_of(tmp_path / "root", write, ending)
    cache, files = all_ways(tmp_path / "root")
    np.testing.assert_array_equal(cache, files)
    np.testing.assert_allclose(cache.astype(int), wanted(tmp_path / "root"), atol=1)


def test_one_range_holds_for_the_whole_folder(tmp_path):
    """A dark image stays darker than a bright one: brightness may be what tells the classes apart."""
    for label, name in enumerate(("night", "day")):
        (tmp_path / "root/train" / name).mkdir(parents=True)
        for number in range(6):
            shades = np.random.default_rng([label, number]).integers(0, 400 if name == "night" else 4000, (SIDE, SIDE))
            Image.fromarray(shades.astype(np.uint16)).save(tmp_path / "root/train" / name / f"{number}.png")
    sets = prepared(tmp_path / "root")
    means = [sets.train.fetch(np.flatnonzero(sets.train.labels_n == label)).mean() for label in (0, 1)]
    night, day = (means[sets.facts.classes.index(name)] for name in ("night", "day"))
    assert 8 < night < 20 and 100 < day < 140


RANGES = [
    ([Extent(kind="whole", low=3, high=200)], Depth(whole=(0, 255))),
    ([Extent(kind="whole", low=3, high=200), Extent(kind="whole", low=0, high=3000)], Depth(whole=(0, 4095))),
    ([Extent(kind="whole", low=0, high=70_000)], Depth(whole=(0, 70_000))),
    ([Extent(kind="whole", low=-1000, high=3000)], Depth(whole=(-1000, 3000))),
    ([Extent(kind="real", low=0, high=0.5)], Depth(real=(0, 1))),
    ([Extent(kind="real", low=0, high=900)], Depth(real=(0, 1023))),
    ([], Depth()),
]


@pytest.mark.parametrize(("extents", "depth"), RANGES)
def test_the_range_is_that_of_the_fewest_bits_that_hold_all_shades(extents, depth):
    assert depth_of(extents) == depth


def test_shades_that_are_no_numbers_are_a_broken_image(tmp_path):
    folder_of(tmp_path / "root", grey_tiff(np.float32, 1 / 255), "tif")
    spoilt = np.full((SIDE, SIDE), 0.5, np.float32)
    spoilt[3, 3] = np.nan
    tifffile.imwrite(tmp_path / "root/train/cat/0.tif", spoilt)
    with pytest.raises(DataError, match=r"cat/0.tif .*no finite numbers"):
        prepared(tmp_path / "root")


def drawing(shade: int, path: Path, mode: str) -> None:
    """A square of that shade in the middle of nothing."""
    alpha = np.zeros((SIDE, SIDE), np.uint8)
    alpha[4:12, 4:12] = 255
    shades = Image.fromarray(np.full((SIDE, SIDE), shade, np.uint8))
    grey = Image.merge("LA", (shades, Image.fromarray(alpha)))
    image = grey.convert("RGBA") if mode != "LA" else grey
    if mode == "P":
        image = image.quantize(colors=4, method=Image.Quantize.FASTOCTREE)
    image.save(path)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("shade", [0, 60, 128, 200, 255])
def test_a_drawing_on_nothing_stays_visible(tmp_path, shade, mode):
    """Black ones and white ones: on white as in most viewers, on black where they are too light for that."""
    drawing(shade, tmp_path / "a.png", mode)
    pixels = decoded(tmp_path / "a.png").astype(int)
    assert abs(pixels[8, 8] - pixels[0, 0]).min() > 60
    np.testing.assert_allclose(pixels[8, 8], shade, atol=8)
    assert pixels[0, 0].tolist() == ([0] * 3 if shade >= 192 else [255] * 3)


def test_transparency_by_one_colour_of_a_palette_or_of_grey(tmp_path):
    """tRNS without an alpha channel."""
    shades = np.full((SIDE, SIDE), 9, np.uint8)
    shades[4:12, 4:12] = 80
    Image.fromarray(shades).save(tmp_path / "a.png", transparency=9)
    pixels = decoded(tmp_path / "a.png")
    assert pixels[0, 0].tolist() == [255] * 3 and pixels[8, 8].tolist() == [80] * 3


def cmyk(path: Path) -> None:
    Image.fromarray(scene()).convert("CMYK").save(path.with_suffix(".jpg"), quality=100)


def ycbcr(path: Path) -> None:
    Image.fromarray(scene()).convert("YCbCr").save(path.with_suffix(".jpg"), quality=100, subsampling=0)


def palette(path: Path) -> None:
    Image.fromarray(scene()).quantize(256, method=Image.Quantize.MEDIANCUT).save(path.with_suffix(".png"))


def lab(path: Path) -> None:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    made = ImageCms.applyTransform(Image.fromarray(scene()), to_lab)
    assert made is not None
    made.save(path.with_suffix(".tif"))


def progressive(path: Path) -> None:
    Image.fromarray(scene()).save(path.with_suffix(".jpg"), quality=100, subsampling=0, progressive=True)


@pytest.mark.parametrize("write", [cmyk, ycbcr, palette, lab, progressive])
def test_colours_of_every_kind_are_the_colours_that_are_seen(tmp_path, write):
    write(tmp_path / "a")
    (path,) = tmp_path.iterdir()
    np.testing.assert_allclose(decoded(path).astype(int), scene().astype(int), atol=16)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_and_black_and_white_become_equal_channels(tmp_path, mode):
    Image.fromarray(scene()).convert(mode).save(tmp_path / "a.png")
    pixels = decoded(tmp_path / "a.png")
    assert (pixels == pixels[..., :1]).all() and pixels.min() < 100 < 150 < pixels.max()


def test_a_broken_colour_profile_is_not_applied(tmp_path):
    Image.fromarray(scene()).save(tmp_path / "a.png", icc_profile=b"no profile")
    np.testing.assert_array_equal(decoded(tmp_path / "a.png"), scene())


def test_the_first_of_several_images_counts_and_is_said(tmp_path):
    folder_of(tmp_path / "root", lambda path, shades: Image.fromarray(shades.astype(np.uint8)).save(path), "gif")
    frames = [Image.fromarray(scene()[..., channel]) for channel in range(3)]
    frames[0].save(tmp_path / "root/train/cat/0.gif", save_all=True, append_images=frames[1:])
    facts = prepared(tmp_path / "root").facts
    assert "1 files hold several images, and the first counts: train/cat/0.gif" in facts.notes
    np.testing.assert_array_equal(decoded(tmp_path / "root/train/cat/0.gif")[..., 0], scene()[..., 0])


def test_the_bound_on_pixels_is_ours_and_can_be_raised(tmp_path):
    """No word of bombs."""
    folder_of(tmp_path / "root", lambda path, shades: Image.fromarray(shades.astype(np.uint8)).save(path), "png")
    Image.new("L", (200, 100), 9).save(tmp_path / "root/train/cat/0.png")
    with pytest.raises(DataError, match=r"cat/0.png .*has 200 × 100 pixels, and data.max_pixels is 1,000"):
        prepared(tmp_path / "root", max_pixels=1000)
    prepared(tmp_path / "root", max_pixels=20_000)


@pytest.mark.parametrize("size", [(1, 1), (1, 40_000), (40_000, 1), (3, 2)])
def test_tiny_and_narrow_images_are_resized_in_little_memory(tmp_path, size):
    """The middle of it: a strip of 1 × 40,000 isn't blown up whole first."""
    image = Image.new("RGB", size, (10, 200, 30))
    image.save(tmp_path / "a.png")
    pixels = Decoding(side=224, max_pixels=10**8).decode(tmp_path / "a.png")
    assert pixels.shape == (3, 224, 224) and np.ptp(pixels.reshape(3, -1), axis=1).max() == 0


def test_a_file_that_was_cut_short_is_broken(tmp_path):
    Image.fromarray(np.kron(scene(), np.ones((8, 8, 1), np.uint8))).save(tmp_path / "a.jpg", quality=100)
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-2000])
    with pytest.raises(Exception, match=r"(?i)truncated"):
        decoded(tmp_path / "a.jpg")


def test_files_that_cannot_be_read_tell_nothing_of_the_depth(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    grey_png(12)(tmp_path / "b.png", np.full((4, 4), 255))
    with ThreadPoolExecutor(2) as threads:
        found = DECODING.find_depth([tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png"], threads)
    assert found == Depth(whole=(0, 4095))


def test_exif_is_read_as_pillow_itself_reads_it(tmp_path):
    """A second opinion on the eight turns."""
    exif = Image.Exif()
    exif[0x0112] = 7
    Image.fromarray(scene()).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(decoded(tmp_path / "a.png"), np.asarray(ImageOps.exif_transpose(image)))
