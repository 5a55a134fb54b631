"""Which files of a folder are images: each once, and what is left out is counted in one line with its reason."""

import ctypes
import os
import shutil
import socket
import struct
import subprocess
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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


def as_a_user(call: Callable[[], object]) -> None:
    """In a thread without a root user's right to read everything."""

    def drop() -> None:
        no_rights = ctypes.create_string_buffer(24)
        assert not ctypes.CDLL(None).capset(struct.pack("Ii", 0x20080522, 0), no_rights)

    with ThreadPoolExecutor(1, initializer=drop) as thread:
        thread.submit(call).result()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("train/cat/0.png", r"train/cat/0.png \(PermissionError: Permission denied\); make readable"),
        ("train/cat", "train/cat can't be looked into: Permission denied"),
        ("train", "train can't be looked into: Permission denied"),
        ("", "root can't be looked into: Permission denied"),
        ("..", "root can't be looked into: Permission denied"),
    ],
)
def test_what_this_user_may_not_read_is_no_broken_image(tmp_path, path, said):
    """Nor one to do without."""
    root = write_folder(tmp_path / "above/root")
    closed = root / path
    closed.chmod(0)
    try:
        with pytest.raises(DataError, match=said) as refused:
            as_a_user(lambda: prepared(root, tmp_path / "cache"))
    finally:
        closed.chmod(0o700)
    assert "max_broken" not in str(refused.value)


def test_files_in_a_folder_that_may_be_listed_and_not_entered(root, tmp_path):
    (root / "train/cat").chmod(0o600)
    try:
        with pytest.raises(DataError, match=r"PermissionError: Permission denied\), .*; make readable"):
            as_a_user(lambda: prepared(root, tmp_path / "cache"))
    finally:
        (root / "train/cat").chmod(0o700)


CONTENTS = [
    (b"", "empty"),
    (bytes(5000), "zeros alone"),
    (b"<!DOCTYPE html><html><body>404</body></html>", "an HTML page"),
    (b"\xef\xbb\xbf\n<html lang='de'>", "an HTML page"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "a pointer of Git LFS"),
    (b"/annex/objects/SHA256E-s3--0.png\n", "a pointer of git-annex"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
    (b"AccessDenied: token expired", "text"),
    ("nicht gefunden: Bär".encode(), "text"),
    (b"PK\3\4" + bytes(50), "a ZIP archive"),
    (b"\0\0\0\x18ftypheic" + bytes(50), "HEIC under another ending"),
    (b"\0\5\x16\7\0\2\0\0Mac OS X", "a resource fork"),
]


@pytest.mark.parametrize(("content", "what"), CONTENTS, ids=[what for _, what in CONTENTS])
def test_what_lies_under_an_images_name_and_is_none_is_named(root, tmp_path, content, what):
    """It is no image to do without: nobody is told to raise max_broken for it."""
    (root / "train/cat/0.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"train/cat/0.png \({what}.*remove what is no image") as refused:
        prepared(root, tmp_path / "cache")
    assert "max_broken" not in str(refused.value)


def test_a_damaged_image_may_be_done_without(root, tmp_path):
    whole = (root / "train/cat/0.png").read_bytes()
    (root / "train/cat/0.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"or raise data.max_broken"):
        prepared(root, tmp_path / "cache")
    spec = DataSpec(name="image_folder", root=str(root), image_size=16, max_broken=1)
    sets = prepare(spec, split_seed=0, cache_dir=tmp_path / "cache")
    assert sum(map(len, (sets.train, sets.validation, sets.test))) == 39


def test_another_kind_of_image_under_the_name_is_read(root, tmp_path):
    """A PNG named .jpg opens."""
    for image in (root / "train/cat").iterdir():
        image.rename(image.with_suffix(".jpg"))
    sets = prepared(root, tmp_path / "cache")
    assert sum(map(len, (sets.train, sets.validation, sets.test))) == 40


def test_what_is_left_out_is_said_at_every_start(root, tmp_path):
    """Also where the images come from the cache, which was filled before."""
    before = prepared(root, tmp_path / "cache").facts
    loop(root)
    spec = DataSpec(name="image_folder", root=str(root), image_size=16, validation=0.2)
    after = prepare(spec, split_seed=0, cache_dir=tmp_path / "cache").facts
    assert after.key == before.key and "train/cat/all → .)" in after.notes[0]


def test_a_class_that_a_part_has_no_images_of_is_said(tmp_path):
    root = write_folder(tmp_path / "root", parts=("train", "val"))
    shutil.rmtree(root / "val/dog")
    assert found(root)[1] == ["val/ has no images of 1 classes ('dog')"]


def test_a_part_that_lies_in_the_training_folder_is_said(root):
    (root / "train/dog").rename(root / "train/val")
    assert found(root)[1] == ["val/ lies in train/ and is a class; move it beside if it is meant as a part"]


def test_a_folder_that_is_nearly_train(root):
    """Its rename leads out."""
    (root / "train").rename(root / "train_images")
    with pytest.raises(DataError, match="rename train_images/ to train/ if it is meant"):
        found(root)


def test_the_order_of_the_files_is_that_of_their_names_on_every_system(tmp_path):
    """Whatever order the file system gives."""
    names = [f"{number}.png" for number in np.random.default_rng(0).permutation(30)]
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "root/train" / name).mkdir(parents=True)
        for number, file in enumerate(names):
            picture(label, number).save(tmp_path / "root/train" / name / file)
    assert found(tmp_path / "root")[0] == sorted(f"train/{name}/{file}" for name in ("cat", "dog") for file in names)
