"""Classes right below the root, without train/: the commonest layout on a disk; taken where nothing else is meant."""

import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from inputs.folders import found, prepared
from inputs.pictures import picture, write_folder

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.study.commands.looking import look, spec_of
from tune_cnn.training.data.prepare import prepare

PICTURES = sorted(f"{name}/{number}.png" for name in ("cat", "dog") for number in range(20))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """pets/cat and pets/dog with 20 pictures each."""
    return write_folder(tmp_path / "pets", parts=(".",))


def note(root: Path, classes: str = "the 2") -> str:
    return (
        f"there is no train/: {classes} folders of {root} are its classes, and images for validation and test are "
        "held out of them (data.validation, data.test)"
    )


def one_picture(folder: Path, number: int = 900) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    picture(0, number).save(folder / f"{number}.png")


def into_train(root: Path) -> None:
    """The way out that each message names."""
    folders = [entry for entry in root.iterdir() if entry.is_dir()]
    (root / "train").mkdir()
    for folder in folders:
        folder.rename(root / "train" / folder.name)


def test_the_folders_are_the_classes_and_that_is_said_once(root):
    assert found(root) == (PICTURES, [note(root)])


def test_parts_are_held_out_as_of_train_alone(root, tmp_path):
    """The same images, by data.validation and data.test."""
    data = DataSpec(name="image_folder", root=str(root), image_size=16, validation=0.25, test=0.2)
    flat = prepare(data, split_seed=0, cache_dir=tmp_path / "cache")
    assert (len(flat.train), len(flat.validation), len(flat.test)) == (24, 8, 8)
    assert flat.facts.classes == ("cat", "dog") and note(root) in flat.facts.notes
    into_train(root)
    below = prepare(data, split_seed=0, cache_dir=tmp_path / "other")
    pairs = zip((flat.train, flat.validation, flat.test), (below.train, below.validation, below.test), strict=True)
    for one, other in pairs:
        np.testing.assert_array_equal(one.indices, other.indices)
        np.testing.assert_array_equal(one.labels_n, other.labels_n)
        np.testing.assert_array_equal(one.fetch(np.arange(len(one))), other.fetch(np.arange(len(other))))


def test_tune_cnn_data_takes_the_folder_itself(root, tmp_path):
    seen = look(spec_of(str(root), ["data.image_size=16"]), str(tmp_path / "cache"), None)
    assert seen["refused"] is None and {one["name"] for one in seen["classes"]} == {"cat", "dog"}
    assert note(root) in seen["notes"] and sum(seen["images"].values()) == 40


def docs(root: Path) -> None:
    (root / "docs/more").mkdir(parents=True)
    (root / "docs/LICENSE").write_text("x")
    (root / "docs/more/labels.csv").write_text("x")


def unpacked_on_a_mac(root: Path) -> None:
    one_picture(root / "__MACOSX/cat")
    one_picture(root / ".git")


def our_own(root: Path) -> None:
    """What a search in this folder leaves beside the classes."""
    one_picture(root / "studies/pets")
    (root / "studies/studies.db").touch()
    one_picture(root / "mlruns/0/artifacts")


def beside(root: Path) -> None:
    (root / "LICENSE.txt").write_text("x")
    picture(0, 99).save(root / "99.png")


def links_back(root: Path) -> None:
    (root / "all").symlink_to(".")


@pytest.mark.parametrize(
    ("make", "line", "classes"),
    [
        (docs, "1 folders without images that are no classes (docs/)", "2 of the 3"),
        (our_own, "2 folders without images that are no classes (mlruns/, studies/)", "2 of the 4"),
        (unpacked_on_a_mac, "2 hidden, or left behind by a system or a tool (.git/, __MACOSX/)", "the 2"),
        (beside, "2 in no class's folder (99.png, LICENSE.txt)", "the 2"),
        (links_back, "1 reached already by another path (all → .)", "the 2"),
    ],
)
def test_what_lies_beside_the_classes_and_is_none_is_left_out_and_named(root, make, line, classes):
    make(root)
    paths, notes = found(root)
    assert sorted(paths) == PICTURES
    assert notes == [note(root, classes), f"left out of the folder: {line}"]


def empty(root: Path) -> None:
    (root / "bird").mkdir()


def of_phones(root: Path) -> None:
    (root / "bird").mkdir()
    (root / "bird/1.heic").write_bytes(b"x")
    (root / "bird/notes.txt").write_text("x")


def still_packed(root: Path) -> None:
    (root / "bird").mkdir()
    (root / "bird/bird.zip").write_bytes(b"PK\3\4")


def in_two_names(root: Path) -> None:
    (root / "bird").symlink_to("dog")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (empty, "bird has no images; put"),
        (of_phones, r"bird has no images \(.*2 no images by their ending \(bird/1.heic, bird/notes.txt\)\); put"),
        (still_packed, r"bird has no images \(.*bird/bird.zip\)\); put"),
        (in_two_names, r"bird has no images \(.* reached already by another path"),
    ],
)
def test_a_folder_that_may_be_a_class_does_not_vanish(root, make, said):
    """Its removal, or an image, leads out."""
    make(root)
    with pytest.raises(DataError, match=said) as refused:
        found(root)
    assert f"put files into {root}/bird/ that end in" in str(refused.value)
    if (root / "bird").is_symlink():
        (root / "bird").unlink()
    else:
        one_picture(root / "bird")
    assert len(found(root)[0]) in {40, 41}


def test_a_class_by_a_link_to_nothing_does_not_vanish(root):
    (root / "bird").symlink_to("/nowhere/bird")
    with pytest.raises(DataError, match="bird leads nowhere"):
        found(root)


def test_images_that_lie_deeper_count_for_their_class(root):
    (root / "cat/old/older").mkdir(parents=True)
    (root / "cat/0.png").rename(root / "cat/old/older/0.png")
    paths, notes = found(root)
    assert len(paths) == 40
    assert notes[1] == "1 images lie deeper than their class's folder and count for it (cat/old/older/0.png)"


def test_each_class_may_hold_one_folder_with_its_images(root):
    for name in ("cat", "dog"):
        (root / name).rename(root / "aside")
        (root / name).mkdir()
        (root / "aside").rename(root / name / "images")
    paths, notes = found(root)
    assert len(paths) == 40 and notes[0] == note(root)


def test_a_class_that_lies_elsewhere_counts_by_its_link(root):
    (root / "cat").rename(root.parent / "cats")
    (root / "cat").symlink_to(root.parent / "cats")
    assert found(root) == (PICTURES, [note(root)])


def named(name: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        one_picture(root / name)

    return make


def inside(folder: str) -> Callable[[Path], None]:
    return named(f"cat/{folder}")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (named("tent"), "tent/ may be meant as test/"),
        (named("eval"), "eval/ may be meant as val/"),
        (named("test_images"), "test_images/ may be meant as test/"),
        (named("steam train"), "rename steam train/ to train/ if it is meant"),
        (named("validation"), "validation/ may be meant as val/"),
        (named("val"), "val/ is there"),
        (named("images"), "images/ is hardly the name of a class"),
        (named("Masks"), "Masks/ is hardly the name of a class"),
        (inside("dog"), "cat holds dog/, and so does .*: it looks like a copy of the classes"),
        (inside("old/test"), "cat/old holds test/, the folder of a part"),
    ],
)
def test_what_may_be_meant_otherwise_is_refused(root, make, said):
    """To move the folders into train/ says that they are classes."""
    make(root)
    with pytest.raises(DataError, match=said) as refused:
        found(root)
    assert f"move the classes' folders into {root}/train" in str(refused.value)
    into_train(root)
    assert len(found(root)[0]) == 41


def test_a_folder_of_two_classes_with_parts_inside_is_refused(root):
    for name in ("cat", "dog"):
        one_picture(root / name / "test")
    with pytest.raises(DataError, match="cat/ holds a part's folder; move each part's images into <part>/<class>/"):
        found(root)


def test_the_folder_above_is_refused_and_the_right_one_named(root):
    """An archive's own folder; with another one beside it that holds no images."""
    docs(root.parent)
    told = f"pets/ alone holds images; set data.root to {root} if its folders are the classes, or move the classes'"
    with pytest.raises(DataError, match=told):
        found(root.parent)


def test_several_sets_side_by_side_are_no_classes(tmp_path):
    """As colour and grey copies of one set; the first is named, and any of them can be taken."""
    for name in ("color", "grey"):
        write_folder(tmp_path / "sets" / name, parts=(".",))
    told = f"color/ holds folders of images itself; set data.root to {tmp_path}/sets/color if its folders are the"
    with pytest.raises(DataError, match=told):
        found(tmp_path / "sets")
    assert len(found(tmp_path / "sets/grey")[0]) == 40
    into_train(tmp_path / "sets")
    assert len(found(tmp_path / "sets")[0]) == 80


def test_one_folder_of_images_is_no_set(root):
    shutil.rmtree(root / "dog")
    with pytest.raises(DataError, match=r"cat/ alone holds images; set data\.root to the folder that holds train/, or"):
        found(root)


def test_folders_without_images_are_no_set(tmp_path):
    docs(tmp_path)
    empty(tmp_path)
    with pytest.raises(DataError, match=r"of its folders none holds images; set data\.root"):
        found(tmp_path)


def test_a_folder_beside_train_is_refused(root):
    """The set may be the one above; as one of its own it has a train/."""
    write_folder(root.parent)
    with pytest.raises(DataError, match=f"set data.root to {root.parent}, or move the classes' folders into {root}/t"):
        found(root)
    into_train(root)
    assert len(found(root)[0]) == 40


def test_a_class_that_is_called_train(root):
    """As in sets of vehicles: it is taken for the part, and the way out leads out."""
    one_picture(root / "train")
    with pytest.raises(DataError, match="where train/ is a class beside cat/, move all of them into a folder train/"):
        found(root)
    (root.parent / "set").mkdir()
    root.rename(root.parent / "set/train")
    assert len(found(root.parent / "set")[0]) == 41


def test_one_name_in_two_spellings_of_unicode(root):
    """Or in two cases, which may be meant and is said."""
    one_picture(root / unicodedata.normalize("NFC", "café"))
    one_picture(root / "Dog")
    assert found(root)[1] == [note(root, "the 4"), "the classes 'Dog' and 'dog' differ by their case alone"]
    one_picture(root / unicodedata.normalize("NFD", "café"), 901)
    with pytest.raises(DataError, match="in two spellings of Unicode"):
        found(root)


def test_a_class_of_odd_bytes(root, tmp_path):
    """Its folder is opened as the system spells it."""
    (root / "cat").rename(root / os.fsdecode(b"caf\xe9"))
    facts = prepared(root, tmp_path / "cache").facts
    assert facts.classes == (r"caf\xe9", "dog")
    assert facts.train_images + facts.validation_images + facts.test_images == 40
