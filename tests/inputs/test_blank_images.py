"""Images that show nothing are counted and named before a search; where they are many of a class, it doesn't begin."""

from pathlib import Path

import numpy as np
import pytest
from inputs.pictures import write_folder
from PIL import Image

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.training.data.image_sets import ImageSets
from tune_cnn.training.data.looks import nearly_constant
from tune_cnn.training.data.prepare import prepare
from tune_cnn.training.data.sources.folder.image_folder import image_folder


def prepared(root: Path, **data: object) -> ImageSets:
    spec = DataSpec(name="image_folder", root=str(root), image_size=16, **data)
    return prepare(spec, split_seed=0, cache_dir=root.parent / "cache")


def blank(root: Path, count: int, shade: int = 0) -> None:
    for number in range(count):
        Image.new("RGB", (20, 20), (shade, shade, shade)).save(root / f"train/cat/{number}.png")


@pytest.mark.parametrize("shade", [0, 100, 255])
def test_some_blank_images_are_named(tmp_path, shade):
    root = write_folder(tmp_path / "root", parts=("train", "val", "test"))
    blank(root, 3, shade)
    (note,) = [note for note in prepared(root).facts.notes if "blank" in note]
    assert note == (
        "3 of 120 images are blank, with all pixels within 16 of 256 shades: train/cat/0.png, train/cat/1.png, "
        "train/cat/2.png"
    )


def test_more_than_half_of_a_class_is_refused_and_can_be_allowed(tmp_path):
    root = write_folder(tmp_path / "root", parts=("train", "val", "test"))
    blank(root, 11)
    with pytest.raises(DataError, match=r"11 of 20 training images of class 'cat' are blank.*raise data.max_blank"):
        prepared(root)
    prepared(root, max_blank=0.6)


def test_images_that_are_not_cached_are_judged_by_a_sample(tmp_path, monkeypatch):
    root = write_folder(tmp_path / "root", parts=("train", "val", "test"))
    blank(root, 20)
    monkeypatch.setattr(
        "tune_cnn.training.data.sources.registry.image_folder", lambda data: image_folder(data, largest_cache_bytes=9)
    )
    assert any("20 of 40 training images that were looked at are blank" in note for note in prepared(root).facts.notes)
    with pytest.raises(DataError, match=r"20 of 40 training images that were looked at are blank.*max_blank is 0.4"):
        prepared(root, max_blank=0.4)


def test_drawings_of_few_pixels_are_not_blank(tmp_path):
    """One bright pixel is a drawing; so are digits, and an image of one colour channel that varies."""
    images_nchw = np.zeros((4, 3, 28, 28), np.uint8)
    images_nchw[1, :, 14, 14] = 255
    images_nchw[2, 1, :, :14] = 16
    images_nchw[3] = 15
    assert nearly_constant(images_nchw).tolist() == [True, False, False, True]
    facts = prepare(DataSpec(name="digits"), split_seed=0, cache_dir=tmp_path).facts
    assert not any("blank" in note for note in facts.notes)
