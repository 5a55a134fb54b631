"""Which files of a folder are images; what is left out is counted in one line with its reason."""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from inputs.folders import PICTURES, found, prepared
from inputs.pictures import picture, write_folder

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.training.data.prepare import prepare


@pytest.fixture
def root(tmp_path) -> Path:
    """train/cat and train/dog with 20 pictures each."""
    return write_folder(tmp_path / "root")


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
        for name in ("__MACOSX", "@eaDir", "__pycache__", "$RECYCLE.BIN", "lost+found", ".git")
    ],
    (notes_beside, "3 no images by their ending (train/cat/image, train/cat/notes.txt, train/dog/movie.heic)"),
    (part_of_a_download, "2 no images by their ending (train/cat/20.png.part, train/cat/21.png.crdownload)"),
    (in_no_class, "1 beside the folders that are used (98.png); 1 in no class's folder (train/99.png)"),
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


def test_images_below_their_classs_folder_are_said(root):
    """They count for it; the folders might be meant as classes."""
    nested(root)
    assert found(root)[1] == [
        "1 images lie deeper than their class's folder and count for it (train/cat/old/older/0.png)"
    ]


def nested(root: Path) -> None:
    (root / "train/cat/old/older").mkdir(parents=True)
    (root / "train/cat/0.png").rename(root / "train/cat/old/older/0.png")


def folder_named_as_an_image(root: Path) -> None:
    (root / "train/cat/0.png").rename(root / "aside")
    (root / "train/cat/0.png").mkdir()
    (root / "aside").rename(root / "train/cat/0.png/0.png")


def other_endings(root: Path) -> None:
    (root / "train/cat/0.png").rename(root / "train/cat/0.PNG")
    picture(0, 1).save(root / "train/cat/1.jfif", format="JPEG")
    (root / "train/cat/1.png").unlink()
    picture(0, 2).save(root / "train/cat/2.JPE", format="JPEG")
    (root / "train/cat/2.png").unlink()
    picture(0, 3).save(root / "train/cat/3.tga")
    (root / "train/cat/3.png").unlink()


@pytest.mark.parametrize("make", [nested, folder_named_as_an_image, other_endings])
def test_images_that_lie_deeper_or_under_odd_endings_all_count(root, tmp_path, make):
    make(root)
    paths, notes = found(root)
    assert len(paths) == 40 and "left out" not in str(notes)
    facts = prepared(root, tmp_path / "cache").facts
    assert facts.train_images + facts.validation_images + facts.test_images == 40


def test_a_part_in_which_all_is_left_out_says_what(tmp_path):
    root = write_folder(tmp_path / "root", parts=("train", "val"))
    for image in (root / "val").rglob("*.png"):
        image.rename(image.with_suffix(".heic"))
    with pytest.raises(DataError, match=r"val has no images \(left out .*: 40 no images by their ending \(val"):
        found(root)


def test_folders_in_folders_as_deep_as_a_path_can_be(root):
    here = Path.cwd()
    try:
        os.chdir(root / "train/cat")
        for _ in range(1500):
            Path("d").mkdir()
            os.chdir("d")
        picture(0, 99).save("99.png")
    finally:
        os.chdir(here)
    assert len(found(root)[0]) == 41
    for name in ("cat", "dog"):  # (the tree is too deep for those who remove it by recursion)
        subprocess.run(["rm", "-r", root / "train" / name], check=True)


def test_what_is_left_out_is_said_at_every_start(root, tmp_path):
    """Also where the images come from the cache, which was filled before."""
    before = prepared(root, tmp_path / "cache").facts
    notes_beside(root)
    spec = DataSpec(name="image_folder", root=str(root), image_size=16, validation=0.2)
    after = prepare(spec, split_seed=0, cache_dir=tmp_path / "cache").facts
    assert after.key == before.key and "3 no images by their ending" in after.notes[0]


def test_the_order_of_the_files_is_that_of_their_names_on_every_system(tmp_path):
    """Whatever order the file system gives."""
    names = [f"{number}.png" for number in np.random.default_rng(0).permutation(30)]
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "root/train" / name).mkdir(parents=True)
        for number, file in enumerate(names):
            picture(label, number).save(tmp_path / "root/train" / name / file)
    assert found(tmp_path / "root")[0] == sorted(f"train/{name}/{file}" for name in ("cat", "dog") for file in names)
