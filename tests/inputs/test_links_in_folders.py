"""Links in a folder of images: each file counts once, a loop is named, and a link to nothing is no mere note."""

import os
import shutil
from pathlib import Path

import pytest
from inputs.folders import PICTURES, found, prepared
from inputs.pictures import picture, write_folder

from tune_cnn.errors import DataError
from tune_cnn.training.data.sources.folder.files import find_images
from tune_cnn.training.data.sources.folder.layout import find_layout


@pytest.fixture
def root(tmp_path) -> Path:
    """train/cat and train/dog with 20 pictures each."""
    return write_folder(tmp_path / "root")


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


KNOWN_ALREADY = [
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
]


@pytest.mark.parametrize(("make", "line"), KNOWN_ALREADY, ids=[line for _, line in KNOWN_ALREADY])
def test_what_is_reached_twice_counts_once_and_is_said(root, make, line):
    make(root)
    paths, notes = found(root)
    assert sorted(paths) == PICTURES
    assert len(notes) == 1 and notes[0].startswith(f"left out of the folder: {line}")


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


@pytest.mark.parametrize("make", [class_elsewhere, part_elsewhere, each_file_elsewhere, folder_elsewhere])
def test_images_that_links_lead_to_all_count(root, tmp_path, make):
    make(root)
    paths, notes = found(root)
    assert len(paths) == 40 and "left out" not in str(notes)
    facts = prepared(root, tmp_path / "cache").facts
    assert facts.train_images + facts.validation_images + facts.test_images == 40


def test_a_file_counts_under_its_own_name_wherever_the_links_sort(root):
    """`a` comes before `dog`: dogs are no cats for that."""
    (root / "train/cat/a").symlink_to("../dog")
    files, _ = find_images(find_layout(root))
    assert [file.label for file in files] == [0] * 20 + [1] * 20


def class_to_nothing(root: Path) -> None:
    (root / "train/fish").symlink_to("/nowhere/fish")


def part_to_nothing(root: Path) -> None:
    (root / "val").symlink_to("/nowhere/val")


def folder_to_nothing(root: Path) -> None:
    (root / "train/cat/more").symlink_to("/nowhere/more")


def class_to_its_own_link(root: Path) -> None:
    (root / "train/fish").symlink_to("fish")


def image_to_nothing(root: Path) -> None:
    (root / "train/cat/0.png").unlink()
    (root / "train/cat/0.png").symlink_to("/nowhere/0.png")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (class_to_nothing, "train/fish leads nowhere .it is a link to /nowhere/fish.; mount or fetch"),
        (part_to_nothing, "val leads nowhere .it is a link to /nowhere/val.; mount or fetch"),
        (folder_to_nothing, "train/cat/more leads nowhere .it is a link to /nowhere/more.; mount or fetch"),
        (class_to_its_own_link, "train/fish leads nowhere .it is a link to fish."),
        (image_to_nothing, "train/cat/0.png .FileNotFoundError: No such file or directory, a link to /nowhere/0.png"),
    ],
)
def test_links_to_nothing_are_no_mere_note(root, tmp_path, make, said):
    """A disk that isn't mounted takes images, a class or a part away."""
    make(root)
    with pytest.raises(DataError, match=said) as refused:
        prepared(root, tmp_path / "cache")
    assert "max_broken" not in str(refused.value)


def test_a_link_to_nothing_that_is_meant_for_no_image_is_a_note(root):
    (root / "latest").symlink_to("/nowhere")
    (root / "train/cat/notes.txt").symlink_to("/nowhere.txt")
    assert found(root) == (
        PICTURES,
        [
            "left out of the folder: 1 beside the folders that are used (latest → /nowhere); "
            "1 no images by their ending (train/cat/notes.txt → /nowhere.txt)"
        ],
    )


def test_a_link_to_above_a_class_that_lies_elsewhere_takes_no_other_pictures(root):
    """pets/ holds fish beside the cats: they are no cats."""
    pets = root.parent / "pets"
    write_folder(pets, parts=(".",), classes=("fish",))
    (root / "train/cat").rename(pets / "cat")
    (root / "train/cat").symlink_to(pets / "cat")
    (pets / "cat/all").symlink_to("..")
    paths, notes = found(root)
    assert sorted(paths) == PICTURES
    assert notes == ["left out of the folder: 1 reached already by another path (train/cat/all → ..)"]


def test_a_class_to_train_that_is_a_link_to_that_of_another_part(tmp_path):
    """The images are those of val/, by their own name."""
    root = write_folder(tmp_path / "root", parts=("train", "val"))
    shutil.rmtree(root / "train/cat")
    (root / "train/cat").symlink_to("../val/cat")
    with pytest.raises(DataError, match=r"train/cat has no images .*train/cat → ../val/cat"):
        found(root)


def test_a_class_in_two_names(root):
    (root / "train/kitty").symlink_to("cat")
    with pytest.raises(DataError, match=r"train/kitty has no images .* reached already by another path"):
        found(root)


def test_a_folder_that_two_classes_share(root):
    write_folder(root.parent, parts=("pool",), classes=("x",))
    for name in ("cat", "dog"):
        (root / "train" / name / "more").symlink_to(root.parent / "pool/x")
    with pytest.raises(DataError, match=r"train/cat/more and train/dog/more .* lead to one folder"):
        found(root)


def test_a_set_whose_files_have_several_classes_by_links(root):
    """Which is right, nobody can say."""
    (root.parent / "pool").mkdir()
    for number in range(10):
        picture(0, 100 + number).save(root.parent / f"pool/{number}.png")
        for name in ("cat", "dog"):
            (root / "train" / name / f"pool{number}.png").symlink_to(root.parent / f"pool/{number}.png")
    with pytest.raises(
        DataError, match=r"10 files in .* are of two classes, by links: train/dog/pool0.png is train/cat"
    ):
        found(root)


@pytest.mark.parametrize("to", ["train", ".", "train/cat"])
def test_a_part_that_is_another_by_a_link(root, to):
    """Its images would be trained on and measured with."""
    (root / "val").symlink_to(to)
    with pytest.raises(DataError, match="no image may be in two parts; remove the link"):
        found(root)


def test_a_validation_image_that_is_a_training_image_by_a_link_is_trained_on_alone(tmp_path):
    root = write_folder(tmp_path / "root", parts=("train", "val"))
    os.link(root / "train/cat/0.png", root / "val/cat/again.png")
    paths, notes = found(root)
    assert len(paths) == 80 and "(val/cat/again.png is train/cat/0.png)" in notes[0]
