"""Folders of parts and classes as people name and place them: used and said, or refused with a way out."""

import shutil
import unicodedata
from pathlib import Path

import pytest
from inputs.folders import found, prepared
from inputs.pictures import picture, write_folder

from tune_cnn.errors import DataError


@pytest.fixture
def root(tmp_path) -> Path:
    """train/cat and train/dog with 20 pictures each."""
    return write_folder(tmp_path / "root")


@pytest.mark.parametrize("name", ["valid", "validation", "Val", "VALID", "dev"])
def test_the_usual_names_of_a_part_are_taken_and_said(tmp_path, name):
    root = write_folder(tmp_path / "root", parts=("train", name, "Testing"))
    sets = prepared(root, tmp_path / "cache")
    assert (len(sets.train), len(sets.validation), len(sets.test)) == (40, 40, 40)
    assert f"the validation images are those of {name}/" in sets.facts.notes
    assert "the test images are those of Testing/" in sets.facts.notes


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("vall", "val/"),
        ("valdation", "val/"),
        ("test2", "test/"),
        ("tset", "test/"),
        ("test_images", "test/"),
        ("valset", "val/"),
        ("eval", "val/ or test/"),
    ],
)
def test_a_folder_with_our_classes_under_nearly_a_parts_name_is_refused(tmp_path, name, meant):
    """It is meant for something; its rename leads out."""
    root = write_folder(tmp_path / "root", parts=("train", name))
    with pytest.raises(DataError, match=f"{name} has classes of train/.*; rename it to {meant}"):
        found(root)
    (root / name).rename(root / meant.removesuffix("/").partition("/")[0])
    assert len(found(root)[0]) == 80


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("train2", "train2/ is not used; move its images into train/ if they are meant"),
        ("val_old", "val_old/ is not used; move its images into val/ if they are meant"),
        ("tset", "tset/ is not used; rename it if test/ is meant"),
    ],
)
def test_a_folder_that_nearly_has_a_parts_name_is_named_first(tmp_path, name, line):
    root = write_folder(tmp_path / "root", parts=("train", "val"))
    for folder in (name, "extra"):
        (root / folder).mkdir()
    _, notes = found(root)
    assert notes[0] == line
    assert "2 beside the folders that are used" in notes[1] and "extra/" in notes[1]


@pytest.mark.parametrize("name", ["brain", "latest", "models", "labels", "images", "annotations"])
def test_other_folders_are_not_taken_for_a_part(root, name):
    shutil.copytree(root / "train", root / name)
    assert found(root)[1] == [f"left out of the folder: 1 beside the folders that are used ({name}/)"]


def test_two_folders_for_one_part_are_refused(tmp_path):
    root = write_folder(tmp_path / "root", parts=("train", "val", "validation"))
    with pytest.raises(DataError, match="val/ and validation/, and one folder may hold the validation images"):
        found(root)


def test_class_names_that_differ_by_case_are_said(tmp_path):
    """They may be meant: upper and lower letters."""
    root = write_folder(tmp_path / "root", classes=("Cat", "cat"))
    assert found(root)[1] == ["the classes 'Cat' and 'cat' differ by their case alone"]


def test_one_name_in_two_spellings_of_unicode(tmp_path):
    """A Mac writes é as two characters: between parts it is one class, within a part a mistake."""
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    write_folder(tmp_path / "root", parts=("train",), classes=(composed, "dog"))
    write_folder(tmp_path / "root", parts=("val",), classes=(apart, "dog"))
    assert len(found(tmp_path / "root")[0]) == 80
    (tmp_path / "root/train" / apart).mkdir()
    with pytest.raises(DataError, match="in two spellings of Unicode"):
        found(tmp_path / "root")


def test_the_root_is_one_folder_too_deep_or_too_high(root):
    """The message names the right one, and that leads out."""
    for below in ("train", "train/cat"):
        with pytest.raises(DataError, match=f"set data.root to {root}$"):
            found(root / below)
    with pytest.raises(DataError, match=f"set data.root to {root}$"):
        found(root.parent)


def test_parts_in_each_classs_folder(root):
    """To move the classes into train/ would train on all."""
    for name in ("cat", "dog"):
        (root / name).mkdir()
        (root / "train" / name).rename(root / name / "train")
    (root / "train").rmdir()
    with pytest.raises(DataError, match=f"move cat/train to {root}/train/cat, and so on for each class$"):
        found(root)


def test_parts_that_were_unpacked_into_folders_of_their_own_names(tmp_path):
    root = write_folder(tmp_path / "root", parts=("train/train", "val/val"))
    with pytest.raises(DataError, match="train holds the parts themselves; move the classes' folders up, in each part"):
        found(root)


def test_a_part_without_classes(root):
    (root / "test").mkdir()
    for number in range(5):
        picture(0, 100 + number).save(root / f"test/{number}.png")
    with pytest.raises(DataError, match=r"test has no images \(.*: 5 in no class's folder.*test/<class>/ that end"):
        found(root)


def test_a_root_that_is_not_there_or_an_archive(tmp_path):
    with pytest.raises(DataError, match=r"images does not exist; set data.root"):
        found(tmp_path / "images")
    (tmp_path / "images.zip").touch()
    with pytest.raises(DataError, match=r"images.zip is a file; set data.root"):
        found(tmp_path / "images.zip")


@pytest.mark.parametrize("place", ["", "train", "train/cat"])
def test_a_file_in_place_of_a_folder(tmp_path, place):
    root = tmp_path / "root"
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).write_text("x")
    with pytest.raises(DataError, match="image_folder needs"):
        found(root)


def test_a_class_that_a_part_has_no_images_of_is_said(tmp_path):
    root = write_folder(tmp_path / "root", parts=("train", "val"))
    shutil.rmtree(root / "val/dog")
    assert found(root)[1] == ["val/ has no images of 'dog'"]


def test_a_part_that_lies_in_the_training_folder_is_said(root):
    (root / "train/dog").rename(root / "train/val")
    assert found(root)[1] == ["val/ lies in train/ and is a class; move it beside if it is meant as a part"]


def test_a_folder_that_is_nearly_train(root):
    """Its rename leads out."""
    (root / "train").rename(root / "train_images")
    with pytest.raises(DataError, match="rename train_images/ to train/ if it is meant"):
        found(root)
