"""Which files of a folder are images: each once, and what is left out is counted in one line with its reason."""

import os
import shutil
import socket
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from inputs.pictures import picture, write_folder

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.training.data.image_sets import ImageSets
from tune_cnn.training.data.prepare import prepare
from tune_cnn.training.data.sources.folder_files import find_images
from tune_cnn.training.data.sources.folder_layout import find_layout


def found(root: Path) -> tuple[list[str], list[str]]:
    """Paths and notes."""
    files, notes = find_images(find_layout(root))
    return [file.path for file in files], list(notes)


def prepared(root: Path, cache: Path) -> ImageSets:
    return prepare(DataSpec(name="image_folder", root=str(root), image_size=16), split_seed=0, cache_dir=cache)


@pytest.fixture
def root(tmp_path) -> Path:
    """train/cat and train/dog with 20 pictures each."""
    return write_folder(tmp_path / "root")


PICTURES = sorted(f"train/{name}/{number}.png" for name in ("cat", "dog") for number in range(20))


def apple(root: Path) -> None:
    for image in list(root.rglob("*.png")):
        (image.parent / f"._{image.name}").write_bytes(b"\0\5\x16\7Mac OS X")


def jupyter(root: Path) -> None:
    (root / "train/cat/.ipynb_checkpoints").mkdir()
    shutil.copy(root / "train/cat/0.png", root / "train/cat/.ipynb_checkpoints/0-checkpoint.png")


def of_system(name: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for place in (root, root / "train", root / "train/cat"):
            (place / name).mkdir()
            shutil.copy(root / "train/dog/0.png", place / name / "0.png")

    return make


def notes_beside(root: Path) -> None:
    (root / "train/cat/notes.txt").write_text("x")
    (root / "train/cat/image").write_text("x")
    (root / "train/dog/movie.heic").write_text("x")


def part_of_a_download(root: Path) -> None:
    (root / "train/cat/20.png.part").write_bytes(b"\x89PNG")
    (root / "train/cat/21.png.crdownload").write_bytes(b"\x89PNG")


def in_no_class(root: Path) -> None:
    picture(0, 99).save(root / "train/99.png")
    picture(0, 98).save(root / "98.png")


def loop(root: Path) -> None:
    (root / "train/cat/all").symlink_to(".")


def to_the_parent(root: Path) -> None:
    (root / "train/cat/all").symlink_to("..")


def to_above_the_root(root: Path) -> None:
    (root / "train/cat/all").symlink_to("../../..")


def to_the_other_class(root: Path) -> None:
    (root / "train/cat/zoo").symlink_to("../dog")


def two_that_meet(root: Path) -> None:
    """Each link leads to a folder that holds the other."""
    for here, there in (("a", "b"), ("b", "a")):
        (root / "train/cat" / here).mkdir()
        (root / "train/cat" / here / "on").symlink_to(f"../{there}")


def linked_again(root: Path) -> None:
    (root / "train/cat/again.png").symlink_to("0.png")
    (root / "train/dog/cat.png").symlink_to("../cat/1.png")


def class_to_itself(root: Path) -> None:
    (root / "train/all").symlink_to(".")
    (root / "train/up").symlink_to("..")


def hard_linked(root: Path) -> None:
    os.link(root / "train/cat/0.png", root / "train/cat/zero.png")


def in_two_classes(root: Path) -> None:
    os.link(root / "train/cat/0.png", root / "train/dog/zero.png")


def pipe(root: Path) -> None:
    os.mkfifo(root / "train/cat/pipe.png")


def bound_socket(root: Path) -> None:
    here = Path.cwd()
    os.chdir(root / "train/cat")  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("socket.png")
    finally:
        os.chdir(here)


LEFT_OUT = [
    (apple, "40 hidden, or left behind by a system or a tool (train/cat/._0.png, "),
    (jupyter, "1 hidden, or left behind by a system or a tool (train/cat/.ipynb_checkpoints/)"),
    *[
        (of_system(name), f"3 hidden, or left behind by a system or a tool (train/{name}/, train/cat/{name}/, {name}/)")
        for name in ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found", ".git")
    ],
    (notes_beside, "3 no images by their ending (train/cat/image, train/cat/notes.txt, train/dog/movie.heic)"),
    (part_of_a_download, "2 no images by their ending (train/cat/20.png.part, train/cat/21.png.crdownload)"),
    (in_no_class, "1 beside the folders that are used (98.png); 1 in no class's folder (train/99.png)"),
    (loop, "1 reached already by another path (train/cat/all → .)"),
    (to_the_parent, "1 reached already by another path (train/cat/all → ..)"),
    (to_above_the_root, "1 reached already by another path (train/cat/all → ../../..)"),
    (to_the_other_class, "1 reached already by another path (train/cat/zoo → ../dog)"),
    (two_that_meet, "2 reached already by another path (train/cat/a/on → ../b, train/cat/b/on → ../a)"),
    (class_to_itself, "2 reached already by another path (train/all → ., train/up → ..)"),
    (
        linked_again,
        "2 reached already by another path "
        "(train/cat/again.png is train/cat/0.png, train/dog/cat.png is train/cat/1.png)",
    ),
    (hard_linked, "1 reached already by another path (train/cat/zero.png is train/cat/0.png)"),
    (in_two_classes, "1 of another class already, by a link (train/dog/zero.png is train/cat/0.png)"),
    (pipe, "1 pipes, sockets or devices (train/cat/pipe.png)"),
    (bound_socket, "1 pipes, sockets or devices (train/cat/socket.png)"),
]


@pytest.mark.parametrize(("make", "line"), LEFT_OUT, ids=[line for _, line in LEFT_OUT])
def test_what_is_no_image_is_left_out_and_said_in_one_line(root, make, line):
    make(root)
    paths, notes = found(root)
    assert sorted(paths) == PICTURES
    assert len(notes) == 1 and notes[0].startswith(f"left out of the folder: {line}")


def test_a_tidy_folder_has_nothing_to_say(root):
    assert found(root) == (sorted(PICTURES, key=lambda path: path), [])


def nested(root: Path) -> None:
    (root / "train/cat/old/older").mkdir(parents=True)
    (root / "train/cat/0.png").rename(root / "train/cat/old/older/0.png")


def folder_named_as_an_image(root: Path) -> None:
    (root / "train/cat/0.png").rename(root / "aside")
    (root / "train/cat/0.png").mkdir()
    (root / "aside").rename(root / "train/cat/0.png/0.png")


def class_elsewhere(root: Path) -> None:
    (root / "train/cat").rename(root.parent / "cats")
    (root / "train/cat").symlink_to(root.parent / "cats")


def part_elsewhere(root: Path) -> None:
    (root / "train").rename(root.parent / "all of them")
    (root / "train").symlink_to(root.parent / "all of them")


def each_file_elsewhere(root: Path) -> None:
    (root.parent / "pool").mkdir()
    for number, image in enumerate(sorted(root.rglob("*.png"))):
        image.rename(root.parent / "pool" / f"{number}.png")
        image.symlink_to(root.parent / "pool" / f"{number}.png")


def folder_elsewhere(root: Path) -> None:
    (root.parent / "more").mkdir()
    (root / "train/cat/0.png").rename(root.parent / "more/0.png")
    (root / "train/cat/more").symlink_to(root.parent / "more")


def other_endings(root: Path) -> None:
    (root / "train/cat/0.png").rename(root / "train/cat/0.PNG")
    picture(0, 1).save(root / "train/cat/1.jfif", format="JPEG")
    (root / "train/cat/1.png").unlink()
    picture(0, 2).save(root / "train/cat/2.JPE", format="JPEG")
    (root / "train/cat/2.png").unlink()
    picture(0, 3).save(root / "train/cat/3.tga")
    (root / "train/cat/3.png").unlink()


@pytest.mark.parametrize(
    "make",
    [
        nested,
        folder_named_as_an_image,
        class_elsewhere,
        part_elsewhere,
        each_file_elsewhere,
        folder_elsewhere,
        other_endings,
    ],
)
def test_images_that_lie_deeper_elsewhere_or_under_odd_endings_all_count(root, tmp_path, make):
    make(root)
    paths, notes = found(root)
    assert len(paths) == 40 and notes == []
    facts = prepared(root, tmp_path / "cache").facts
    assert facts.train_images + facts.validation_images + facts.test_images == 40


def test_a_file_counts_under_its_own_name_wherever_the_links_sort(root):
    """`a` comes before `dog`: dogs are no cats for that."""
    (root / "train/cat/a").symlink_to("../dog")
    files, _ = find_images(find_layout(root))
    assert [file.label for file in files] == [0] * 20 + [1] * 20


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
    with pytest.raises(DataError, match=f"set data.root to {root}$"):
        found(root / "train")
    with pytest.raises(DataError, match=f"set data.root to {root}$"):
        found(root.parent)


def test_classes_without_a_train_folder(root):
    for name in ("cat", "dog"):
        (root / "train" / name).rename(root / name)
    (root / "train").rmdir()
    with pytest.raises(DataError, match=f"or move the classes' folders into {root}/train$"):
        found(root)


@pytest.mark.parametrize("place", ["", "train", "train/cat"])
def test_a_file_in_place_of_a_folder(tmp_path, place):
    root = tmp_path / "root"
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).write_text("x")
    with pytest.raises(DataError, match="image_folder needs"):
        found(root)


def test_a_part_in_which_all_is_left_out_says_what(tmp_path):
    root = write_folder(tmp_path / "root", parts=("train", "val"))
    for image in (root / "val").rglob("*.png"):
        image.rename(image.with_suffix(".heic"))
    with pytest.raises(DataError, match=r"val has no images \(left out .*: 40 no images by their ending \(val"):
        found(root)


def test_links_to_nothing_are_broken_images(root, tmp_path):
    """A disk that isn't mounted takes images away: that is no note."""
    (root / "train/cat/0.png").unlink()
    (root / "train/cat/0.png").symlink_to("/nowhere/0.png")
    with pytest.raises(DataError, match=r"train/cat/0.png .*FileNotFoundError"):
        prepared(root, tmp_path / "cache")


def test_the_order_of_the_files_is_that_of_their_names_on_every_system(tmp_path):
    """Whatever order the file system gives."""
    names = [f"{number}.png" for number in np.random.default_rng(0).permutation(30)]
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "root/train" / name).mkdir(parents=True)
        for number, file in enumerate(names):
            picture(label, number).save(tmp_path / "root/train" / name / file)
    assert found(tmp_path / "root")[0] == sorted(f"train/{name}/{file}" for name in ("cat", "dog") for file in names)
