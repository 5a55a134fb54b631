"""Images that are kept as JPEGs in one file: what is delivered, which way is taken, and what is refused."""

import io
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import photograph, plan_of, prepared, write_folder, write_image, write_photographs
from PIL import Image

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.training.data.cache import cached
from tune_cnn.training.data.cache_quota import DISK_GB
from tune_cnn.training.data.image_sets import ImageSets
from tune_cnn.training.data.loaders.registry import make_loader
from tune_cnn.training.data.sources.folder.image_file import Decoding
from tune_cnn.training.data.sources.packed import jpeg
from tune_cnn.training.data.sources.packed import square as packed_square
from tune_cnn.training.data.sources.packed.file import INDEX, PACK, PackReader
from tune_cnn.training.data.sources.packed.packing import TOLERANCE, How, Packed, pack, unpack
from tune_cnn.training.data.sources.registry import find_source

SIDE = 24


def shown(path: Path, side: int) -> np.ndarray:
    return Decoding(side=side, max_pixels=10**8).decode(path)


def packed_file(path: Path, side: int, kind="jpeg") -> tuple[Packed, np.ndarray]:
    image_chw = shown(path, side)
    return pack(image_chw, path.read_bytes(), kind), image_chw


def difference(packed: Packed, image_chw: np.ndarray) -> float:
    unpacked = unpack(np.frombuffer(packed.content, np.uint8), packed.how, image_chw.shape[1])
    assert unpacked.dtype == np.uint8 and unpacked.shape == image_chw.shape and unpacked.flags.writeable
    return float(np.abs(unpacked.astype(int) - image_chw).mean())


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("resampler", ["cykooz_resizer", "torch"])
def test_a_photograph_decoded_whole_is_pillows_to_rounding(
    tmp_path: Path, number: int, resampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where half of it would be less than the square there is no other way; the file's bytes stay as they are. Fast
    decoding is near; no resampler at hand shifts or crops otherwise."""
    if resampler == "torch":
        monkeypatch.setattr(packed_square, "_cykooz", lambda: None)
    elif packed_square.resampler() == "torch":
        pytest.skip("no wheels of cykooz_resizer for this kind of machine")
    photograph(number).save(tmp_path / "a.jpg", quality=90)
    content = np.frombuffer((tmp_path / "a.jpg").read_bytes(), np.uint8)
    image_chw = shown(tmp_path / "a.jpg", 224)
    for reduced in (False, True):
        decoded = jpeg.decode(content, 224, fast=False, reduced=reduced)
        assert np.abs(decoded.astype(int) - image_chw).max() <= 1
        fast = jpeg.decode(content, 224, fast=True, reduced=reduced)
        assert 0 < np.abs(fast.astype(int) - image_chw).mean() <= TOLERANCE
    packed, _ = packed_file(tmp_path / "a.jpg", 224)
    assert packed.content == content.tobytes() and packed.how is How.REDUCED


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("settings", [{"subsampling": at} for at in (0, 1, 2)] + [{"progressive": True}], ids=str)
@pytest.mark.parametrize("size", [(299, 225), (225, 331), (101, 57)])
def test_every_kind_of_jpeg_is_decoded_fast_at_every_size(tmp_path: Path, mode: str, settings, size) -> None:
    """4:4:4, 4:2:2, 4:2:0 and progressive, coloured and grey; of odd sizes, upright and smaller than the square too."""
    photograph().resize(size).convert(mode).save(tmp_path / "a.jpg", quality=90, **settings)
    content = np.frombuffer((tmp_path / "a.jpg").read_bytes(), np.uint8)
    for side in (96, 224):
        packed = Packed(content=content.tobytes(), how=How.REDUCED)
        assert difference(packed, shown(tmp_path / "a.jpg", side)) <= TOLERANCE


def test_what_fast_decoding_shows_otherwise_is_decoded_with_care(tmp_path: Path) -> None:
    """Colours at half resolution, changed at every pixel's edge: upsampled without smoothing they are others."""
    colours = np.random.default_rng(0).integers(0, 2, (60, 60, 3), dtype=np.uint8) * 255
    Image.fromarray(colours).resize((400, 400), Image.Resampling.BILINEAR).save(
        tmp_path / "a.jpg", quality=75, subsampling=2
    )
    packed, image_chw = packed_file(tmp_path / "a.jpg", 300)
    assert packed.how is How.WHOLE and difference(packed, image_chw) <= 1
    content = np.frombuffer(packed.content, np.uint8)
    assert np.abs(unpack(content, How.FAST, 300).astype(int) - image_chw).mean() > TOLERANCE


def test_threads_resize_at_a_time(tmp_path: Path) -> None:
    """Each has a resizer of its own, whose memory it may use."""
    photograph().save(tmp_path / "a.jpg", quality=90)
    content = np.frombuffer((tmp_path / "a.jpg").read_bytes(), np.uint8)
    alone = unpack(content, How.REDUCED, 200)
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(lambda _: unpack(content, How.REDUCED, 200), range(40)):
            np.testing.assert_array_equal(found, alone)


def test_another_resampler_is_another_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pixels differ by rounding: neither is the entry opened, nor the key the same."""
    write_photographs(tmp_path / "root")
    data = DataSpec(name="image_folder", root=str(tmp_path / "root"), image_size=SIDE, cache="jpeg")
    one = cached(find_source(data, 0), tmp_path / "cache")
    monkeypatch.setattr(packed_square, "_cykooz", lambda: None)
    assert packed_square.resampler() == "torch" != jpeg.decoder()
    other = cached(find_source(data, 0), tmp_path / "cache")
    assert other.folder != one.folder and other.key != one.key


@pytest.mark.parametrize("side", [142, 71, 35])
@pytest.mark.parametrize("number", [0, 1])
def test_a_reduced_photograph_differs_by_two_grey_levels_at_most(tmp_path: Path, number: int, side: int) -> None:
    """At a half, a quarter and an eighth, each at the largest side that it may serve."""
    photograph(number).save(tmp_path / "a.jpg", quality=90)
    content = np.frombuffer((tmp_path / "a.jpg").read_bytes(), np.uint8)
    packed, image_chw = Packed(content=content.tobytes(), how=How.REDUCED), shown(tmp_path / "a.jpg", side)
    assert 0 < difference(packed, image_chw) <= TOLERANCE
    reduced, whole = (jpeg.decode(content, side, fast=True, reduced=each) for each in (True, False))
    assert (reduced != whole).any()


def test_a_file_that_is_smaller_than_its_pixels_is_decoded_reduced(tmp_path: Path) -> None:
    """Its own bytes are what is kept; a larger file is kept as the square's pixels."""
    photograph().save(tmp_path / "a.jpg", quality=50)
    packed, image_chw = packed_file(tmp_path / "a.jpg", 142)
    assert packed.how is How.REDUCED and packed.content == (tmp_path / "a.jpg").read_bytes()
    assert difference(packed, image_chw) <= TOLERANCE
    packed, image_chw = packed_file(tmp_path / "a.jpg", 100)
    assert packed.how is How.PIXELS and difference(packed, image_chw) == 0


@pytest.mark.parametrize("number", [0, 1])
def test_a_copy_differs_by_two_grey_levels_at_most_and_is_smaller(tmp_path: Path, number: int) -> None:
    photograph(number).save(tmp_path / "a.jpg", quality=97)
    packed, image_chw = packed_file(tmp_path / "a.jpg", 112, "small_jpeg")
    assert packed.how is How.WHOLE and difference(packed, image_chw) <= TOLERANCE
    assert len(packed.content) < image_chw.size / 2


def _turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph().save(path, exif=exif)


def _cmyk(path: Path) -> None:
    photograph().convert("CMYK").save(path)


def _strip(path: Path) -> None:
    Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (2, 4))).save(path)


def _png(path: Path) -> None:
    photograph().save(path, "PNG")


def _noise(path: Path) -> None:
    """Larger as a JPEG than its pixels at the side."""
    write_image(path, 1, size=(300, 300))


@pytest.mark.parametrize("make", [_turned, _cmyk, _strip, _png, _noise])
def test_what_is_no_plain_jpeg_is_kept_as_it_is_shown(tmp_path: Path, make) -> None:
    """To the last bit: the decoder would show something else, and nobody would hear of it."""
    make(tmp_path / "a.jpg")
    packed, image_chw = packed_file(tmp_path / "a.jpg", SIDE)
    assert packed.how is How.PIXELS and difference(packed, image_chw) == 0


def test_a_grey_jpeg_is_decoded_to_three_channels(tmp_path: Path) -> None:
    photograph().convert("L").save(tmp_path / "a.jpg")
    packed, image_chw = packed_file(tmp_path / "a.jpg", 200)
    assert packed.how is not How.PIXELS and difference(packed, image_chw) <= TOLERANCE


def test_noise_is_no_copy(tmp_path: Path) -> None:
    """A JPEG of noise is far from it: what a copy would change by more than it may is kept as pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE), dtype=np.uint8)
    packed = pack(noise, b"", "small_jpeg")
    assert packed.how is How.PIXELS and difference(packed, noise) == 0


def _sets(tmp_path: Path, kind: str, **spec) -> ImageSets:
    return prepared(tmp_path, "image_folder", image_size=SIDE, cache=kind, **spec)


@pytest.mark.parametrize("kind", ["jpeg", "small_jpeg"])
def test_a_packed_set_is_the_one_of_pixels(tmp_path: Path, kind: str) -> None:
    """The same images in the same parts, with the same labels, mean and deviation; odd files among them."""
    root = write_photographs(tmp_path / "root")
    _turned(root / "train/temple/turned.jpg")
    _png(root / "train/flower/other.png")
    pixels, packed = _sets(tmp_path, "pixels"), _sets(tmp_path, kind)
    assert packed.train.images is None and isinstance(packed.train.reader, PackReader)
    for name in ("train", "validation", "test"):
        ours, theirs = getattr(packed, name), getattr(pixels, name)
        np.testing.assert_array_equal(ours.labels_n, theirs.labels_n)
        every = np.arange(len(theirs))
        fetched = ours.fetch(every, threads=2).astype(int)
        assert np.abs(fetched - theirs.fetch(every)).mean(axis=(1, 2, 3)).max() <= TOLERANCE
    assert packed.facts.mean == pytest.approx(pixels.facts.mean) and packed.facts.std == pytest.approx(pixels.facts.std)
    assert packed.facts.key != pixels.facts.key and any("kept as JPEG" in note for note in packed.facts.notes)


def test_batched_and_stream_deliver_the_same_images(tmp_path: Path) -> None:
    """In this process, and image by image in a loader process."""
    write_photographs(tmp_path / "root")
    sets = _sets(tmp_path, "jpeg")
    plan = plan_of(sets)
    delivered = []
    for kind, workers in (("batched", 0), ("stream", 1)):
        loader = make_loader(plan, kind=kind, workers=workers)
        try:
            delivered.append(torch.cat([batch.images_nchw for batch in loader.epoch(0)]))
        finally:
            loader.close()
    assert len(delivered[0]) == len(sets.train) and torch.equal(*delivered)


def test_beyond_the_quota_auto_packs_and_what_even_packed_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """12 photographs take 0.0018 GB as pixels of 224², and a tenth of that as the files that they are."""
    root = write_photographs(tmp_path / "root")
    files = sum(path.stat().st_size for path in root.rglob("*.jpg"))
    pixels = 12 * 3 * 224 * 224
    monkeypatch.setenv(DISK_GB, f"{(files + 1000) / 1e9:.9f}")
    sets = prepared(tmp_path, "image_folder", image_size=224)
    assert isinstance(sets.train.reader, PackReader) and f"more than {DISK_GB} allows" in str(sets.facts.notes)
    assert (sets.train.reader.folder / PACK).stat().st_size == files < pixels
    monkeypatch.setenv(DISK_GB, f"{files / 2e9:.9f}")
    with pytest.raises(DataError, match=rf"raise {DISK_GB}, set data.cache: small_jpeg, or set data.cache: none"):
        prepared(tmp_path / "other", "image_folder", image_size=225, root=str(root))
    assert not list((tmp_path / "other/cache").glob("*.tmp*"))


def test_a_packed_file_that_grows_over_the_quota_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise has no small copies: that is known only once they are made."""
    write_folder(tmp_path / "root", per_class=12)
    monkeypatch.setenv(DISK_GB, "0.000015")
    with pytest.raises(DataError, match=r"as JPEGs \(data.cache: small_jpeg\).*smaller data.image_size"):
        _sets(tmp_path, "small_jpeg")
    assert not list((tmp_path / "cache").glob("*.tmp*"))


def test_none_reads_the_files_each_time(tmp_path: Path) -> None:
    write_photographs(tmp_path / "root")
    sets = _sets(tmp_path, "none")
    assert sets.train.images is None and not list((tmp_path / "cache").rglob(PACK))
    np.testing.assert_array_equal(
        sets.train.fetch(np.arange(1))[0],
        shown(tmp_path / "root" / sets.train.reader.paths[int(sets.train.rows[0])], SIDE),
    )


def test_a_truncated_jpeg_is_broken_when_it_is_packed(tmp_path: Path) -> None:
    """Named as for the cache of pixels, and left out where data.max_broken allows it."""
    root = write_photographs(tmp_path / "root")
    cut = root / "train/temple/00.jpg"
    cut.write_bytes(cut.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"train/temple/00.jpg .*truncated"):
        _sets(tmp_path, "jpeg")
    sets = _sets(tmp_path, "jpeg", max_broken=1)
    assert "1 broken image is left out" in str(sets.facts.notes)
    assert sum(len(part) for part in (sets.train, sets.validation, sets.test)) == 11


def test_damage_within_a_packed_file_is_named(tmp_path: Path) -> None:
    """The file's size is right, so it is found only when the image is read."""
    write_photographs(tmp_path / "root")
    sets = _sets(tmp_path, "jpeg")
    folder, row = sets.train.reader.folder, int(sets.train.rows[0])
    start, end, _ = np.load(folder / INDEX)[row].tolist()
    with (folder / PACK).open("r+b") as file:
        file.seek(start + (end - start) // 2)
        file.write(b"\0" * (end - start - (end - start) // 2))
    with pytest.raises(DataError, match=rf"image {row} of .*{PACK} can't be decoded .*delete {folder}"):
        PackReader(folder, SIDE).image(row)


@pytest.mark.parametrize("name", [PACK, INDEX, "sums.npy"])
def test_an_entry_that_was_cut_is_packed_again(tmp_path: Path, name: str) -> None:
    write_photographs(tmp_path / "root")
    data = DataSpec(name="image_folder", root=str(tmp_path / "root"), image_size=SIDE, cache="jpeg")
    before = cached(find_source(data, 0), tmp_path / "cache")
    path = before.folder / name
    content = path.read_bytes()
    path.write_bytes(content[:-8])
    after = cached(find_source(data, 0), tmp_path / "cache")
    assert path.read_bytes() == content and after.key == before.key
    assert json.loads((after.folder / "facts.json").read_text())["packed"] is True


def test_a_missing_decoder_is_refused_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photographs(tmp_path / "root")
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    jpeg._simplejpeg.cache_clear()
    with pytest.raises(DataError, match=r"decoded by simplejpeg.*; uv sync --extra jpeg"):
        _sets(tmp_path, "jpeg")
    assert not (tmp_path / "cache").exists()


def test_another_set_takes_no_cache(tmp_path: Path) -> None:
    """The key would be ignored."""
    with pytest.raises(
        DataError, match=r"data.cache: says how image_folder, csv and webdataset keep their images.*'digits'"
    ):
        prepared(tmp_path, cache="jpeg")


def test_a_png_of_the_square_is_read_by_pillow() -> None:
    """Whatever bytes a packed image has, they are a file that other programs open."""
    noise = np.random.default_rng(1).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    with Image.open(io.BytesIO(pack(noise, b"", "jpeg").content)) as image:
        np.testing.assert_array_equal(np.asarray(image).transpose(2, 0, 1), noise)
