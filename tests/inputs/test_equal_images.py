"""Equal images: our split keeps them on one side; in given parts they are counted, and refused above chance."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from inputs.pictures import write_folder
from PIL import Image

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.training.data.image_sets import ImageSets
from tune_cnn.training.data.prepare import prepare
from tune_cnn.training.data.split import stratified_split


def prepared(root: Path, **data: object) -> ImageSets:
    spec = DataSpec(name="image_folder", root=str(root), image_size=16, **data)
    return prepare(spec, split_seed=0, cache_dir=root.parent / "cache")


def contents(sets: ImageSets, part: str) -> set[bytes]:
    images = getattr(sets, part)
    return {image.tobytes() for image in images.fetch(np.arange(len(images)))}


def test_copies_stay_on_one_side_of_our_split(tmp_path):
    """Each image twice, as augmented folders and `copy (1)` leave them: no copy of a held-out one is trained on."""
    root = write_folder(tmp_path / "root")
    for image in list(root.rglob("*.png")):
        shutil.copy(image, image.with_name(f"{image.stem} copy.png"))
    sets = prepared(root, validation=0.2, test=0.2)
    parts = [contents(sets, part) for part in ("train", "validation", "test")]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert len(sets.train) + len(sets.validation) + len(sets.test) == 80


def test_a_split_without_equal_images_is_as_it_was():
    labels_n = np.repeat(np.arange(4), 25)
    plain = stratified_split(labels_n, 0.2, 3)
    grouped = stratified_split(labels_n, 0.2, 3, equal_n=np.random.default_rng(0).permutation(100))
    assert [side.tolist() for side in plain] == [side.tolist() for side in grouped]


@pytest.mark.parametrize(("part", "called"), [("val", "validation"), ("test", "test")])
def test_copies_of_training_images_in_another_part_are_refused_and_can_be_allowed(tmp_path, part, called):
    root = write_folder(tmp_path / "root", parts=("train", "val", "test"))
    for number in range(4):
        shutil.copy(root / f"train/cat/{number}.png", root / part / f"cat/{number}.png")
    message = rf"4 of 40 {called} images are equal to training images, .* {part}/cat/0.png = train/cat/0.png, "
    with pytest.raises(DataError, match=message):
        prepared(root)
    notes = prepared(root, max_shared=0.1).facts.notes
    assert any(note.startswith(f"4 of 40 {called} images are equal to training images: ") for note in notes)


def test_one_copy_is_said_and_no_reason_to_stop(tmp_path):
    """No share of a small part is less than one image."""
    root = write_folder(tmp_path / "root", parts=("train", "val", "test"))
    shutil.copy(root / "train/cat/7.png", root / "val/cat/3.png")
    notes = prepared(root).facts.notes
    assert "1 of 40 validation images are equal to training images: val/cat/3.png = train/cat/7.png" in notes


def test_equal_images_of_two_classes_are_said(tmp_path):
    root = write_folder(tmp_path / "root", parts=("train", "val", "test"))
    shutil.copy(root / "train/cat/7.png", root / "train/dog/8.png")
    notes = prepared(root).facts.notes
    assert "1 training images are equal to one of another class: train/dog/8.png" in notes


def test_blank_images_are_equal_by_nature(tmp_path):
    """A few in each part are no leak."""
    root = write_folder(tmp_path / "root", parts=("train", "val", "test"))
    blank = np.zeros((20, 20, 3), np.uint8)
    for part in ("train", "val", "test"):
        for number in range(5):
            Image.fromarray(blank).save(root / part / f"cat/{number}.png")
    assert not any("equal" in note for note in prepared(root).facts.notes)
