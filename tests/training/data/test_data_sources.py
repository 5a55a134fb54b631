"""Images from scikit-learn, torchvision's files and folders, and what is wrong with them."""

import numpy as np
import pytest
import torch
from image_files import prepared, write_fashion_mnist, write_folder, write_image
from PIL import Image
from torchvision.transforms.v2 import functional as v2

from tune_cnn.errors import DataError
from tune_cnn.training.data.sources.folder.image_file import Decoding
from tune_cnn.training.data.sources.folder.image_folder import image_folder
from tune_cnn.training.data.sources.registry import data_names
from tune_cnn.training.data.sources.resize import resize_array, resize_image

DECODING = Decoding(side=16, max_pixels=10**8)


def test_digits_come_whole_and_split(tmp_path):
    """1,797 images of 8×8 over the whole range of uint8, in three parts with every class in its share."""
    sets = prepared(tmp_path)
    facts = sets.facts
    assert facts.train_images + facts.validation_images + facts.test_images == 1797
    assert (facts.num_classes, facts.in_channels, facts.image_size) == (10, 1, (8, 8))
    assert (sets.train.images.min(), sets.train.images.max()) == (0, 255)
    for part in (sets.train, sets.validation, sets.test):
        shares = np.bincount(part.labels_n, minlength=10) / len(part)
        assert shares.min() > 0.08 and shares.max() < 0.12
    parts = [set(part.indices.tolist()) for part in (sets.train, sets.validation, sets.test)]
    assert len(set.union(*parts)) == 1797
    assert "no test images" in facts.notes[0]
    pixels = sets.train.fetch(np.arange(len(sets.train))) / 255
    assert facts.mean[0] == pytest.approx(pixels.mean()) and facts.std[0] == pytest.approx(pixels.std())


def test_the_second_call_returns_the_same_object(tmp_path):
    """A warm process prepares a set once; another seed is another split of the same cache."""
    assert prepared(tmp_path) is prepared(tmp_path)
    other = prepared(tmp_path, seed=1)
    assert other.facts.key == prepared(tmp_path).facts.key
    assert other.validation.indices.tolist() != prepared(tmp_path).validation.indices.tolist()


def test_all_data_trains_on_the_validation_images_too(tmp_path):
    """They stay where they were besides, and a note says so."""
    usual, all_data = prepared(tmp_path), prepared(tmp_path, all_data=True)
    together = sorted([*usual.train.indices, *usual.validation.indices])
    assert all_data.train.indices.tolist() == together
    assert all_data.validation.indices.tolist() == usual.validation.indices.tolist()
    assert any("trained on" in note for note in all_data.facts.notes)


def test_a_subset_and_another_size(tmp_path):
    """data.subset counts before the validation split; data.image_size resizes."""
    sets = prepared(tmp_path, subset=200, image_size=12)
    assert len(sets.train) + len(sets.validation) == 200
    assert sets.facts.image_shape == (1, 12, 12) and sets.train.images.shape[1:] == (1, 12, 12)


@pytest.mark.parametrize("zipped", [False, True])
def test_fashion_mnist_is_read_from_its_published_files(tmp_path, zipped):
    """Unpacked or not; nothing is written beside them."""
    write_fashion_mnist(tmp_path / "root", zipped=zipped)
    before = sorted((tmp_path / "root").rglob("*"))
    facts = prepared(tmp_path, "fashion_mnist", validation=0.2).facts
    assert (facts.train_images, facts.validation_images, facts.test_images) == (50, 10, 20)
    assert facts.classes[9] == "Ankle boot"
    assert sorted((tmp_path / "root").rglob("*")) == before


def test_the_key_is_the_same_however_the_files_lie(tmp_path):
    """It is a hash of decoded images and labels, not of files."""
    write_fashion_mnist(tmp_path / "a")
    write_fashion_mnist(tmp_path / "b", zipped=True)
    a, b = (prepared(tmp_path, "fashion_mnist", root=str(tmp_path / r), validation=0.2) for r in "ab")
    assert a.facts.key == b.facts.key and a.train.path != b.train.path


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10", "cifar100", "svhn"])
def test_missing_files_offline_say_where_to_put_what(tmp_path, name):
    """The message names the folder and the files."""
    with pytest.raises(DataError, match=rf"{name} isn't in {tmp_path}.*put .* into {tmp_path}"):
        prepared(tmp_path, name)


def test_damaged_files_are_named(tmp_path):
    """An IDX file that was cut short."""
    write_fashion_mnist(tmp_path / "root")
    path = tmp_path / "root/FashionMNIST/raw/train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="damaged"):
        prepared(tmp_path, "fashion_mnist")


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path):
    """data_names() lists them all."""
    with pytest.raises(DataError, match="did you mean 'fashion_mnist'"):
        prepared(tmp_path, "fashionmnist")
    assert data_names() == ("digits", "fashion_mnist", "cifar10", "cifar100", "svhn", "image_folder")


def test_a_folder_of_mixed_images_becomes_rgb_of_one_size(tmp_path):
    """JPEG and PNG, grey and transparent, any size; classes are the subfolders."""
    write_folder(tmp_path / "root")
    sets = prepared(tmp_path, "image_folder", image_size=16, test=0.2, validation=0.2)
    assert sets.train.images.shape == (12, 3, 16, 16)
    assert sets.facts.classes == ("cat", "dog")
    for position in range(len(sets.train)):
        row = int(sets.train.rows[position])
        np.testing.assert_array_equal(sets.train.reader.image(row), sets.train.fetch(np.array([position]))[0])


def test_a_folders_own_parts_are_used(tmp_path):
    """val/ is the validation split, test/ the test set; nothing is split off train/."""
    write_folder(tmp_path / "root", parts=("train", "val", "test"))
    facts = prepared(tmp_path, "image_folder", image_size=8).facts
    assert (facts.train_images, facts.validation_images, facts.test_images) == (12, 12, 12)


def test_images_are_224_unless_said_otherwise(tmp_path):
    """As torchvision's pretrained networks take them."""
    write_folder(tmp_path / "root", per_class=3)
    assert prepared(tmp_path, "image_folder").facts.image_shape == (3, 224, 224)


def _break(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_broken_image_is_refused_by_name(tmp_path):
    """Truncated files are found out when they are decoded."""
    write_folder(tmp_path / "root")
    _break(tmp_path / "root/train/dog/3.jpg")
    with pytest.raises(DataError, match=r"train/dog/3.jpg.*max_broken"):
        prepared(tmp_path, "image_folder", image_size=16)


def test_broken_images_are_left_out_up_to_the_cap_and_said(tmp_path):
    """Named in the notes; labels and files of the others stay together."""
    write_folder(tmp_path / "root")
    (tmp_path / "root/train/cat/0.jpg").write_bytes(b"no image")
    _break(tmp_path / "root/train/dog/3.jpg")
    sets = prepared(tmp_path, "image_folder", image_size=16, max_broken=2)
    assert any("2 broken images" in n and "train/cat/0.jpg" in n and "train/dog/3.jpg" in n for n in sets.facts.notes)
    assert len(sets.train.images) == 10
    for position, row in enumerate(sets.train.rows):
        np.testing.assert_array_equal(sets.train.reader.image(int(row)), sets.train.fetch(np.array([position]))[0])
    with pytest.raises(DataError, match="max_broken is 1"):
        prepared(tmp_path, "image_folder", image_size=16, max_broken=1)


def test_files_that_are_no_images_are_said(tmp_path):
    """By their ending."""
    write_folder(tmp_path / "root")
    (tmp_path / "root/train/cat/notes.txt").write_text("x")
    assert "notes.txt" in str(prepared(tmp_path, "image_folder", image_size=16).facts.notes)


def test_sixteen_bit_shades_keep_their_range(tmp_path):
    """Pillow's own conversion would cut everything above 255 off."""
    path = tmp_path / "deep.png"
    Image.fromarray((np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)).save(path)
    np.testing.assert_array_equal(DECODING.decode(path)[0], np.arange(256).reshape(16, 16))


@pytest.mark.parametrize("size", [(31, 45), (64, 40), (9, 9), (17, 300)])
def test_resizing_is_that_of_torchvision(size):
    """Shorter side, then the middle: the same pixels of files, within one shade of arrays (rounding)."""
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    wanted = v2.center_crop(v2.resize(image, [16], antialias=True), [16, 16])
    np.testing.assert_array_equal(np.asarray(resize_image(image, 16)), np.asarray(wanted))
    array = pixels.transpose(2, 0, 1)
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    wanted = v2.center_crop(v2.resize(tensor, [16], antialias=True), [16, 16])
    np.testing.assert_allclose(resize_array(array, 16).astype(int), wanted.numpy().astype(int), atol=1)


def _one_class(root):
    write_image(root / "train/cat/1.png", 1)


def _empty_class(root):
    write_folder(root)
    (root / "train/bird").mkdir()


def _empty_val(root):
    write_folder(root)
    (root / "val").mkdir()


def _foreign_class(root):
    write_folder(root, parts=("train", "val"))
    write_image(root / "val/dogs/1.png", 1)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda root: None, "needs .*train/<class>/<image>"),
        (lambda root: (root / "train").mkdir(parents=True), "no subfolders"),
        (_one_class, "one class only"),
        (_empty_class, "train/bird has no images"),
        (_empty_val, "val has no images"),
        (_foreign_class, "'dogs'.*did you mean 'dog'"),
    ],
)
def test_a_folder_that_does_not_hold_together_is_refused(tmp_path, make, word):
    """Each with its own word."""
    make(tmp_path / "root")
    with pytest.raises(DataError, match=word):
        prepared(tmp_path, "image_folder", image_size=8)


def test_a_folder_too_large_for_the_cache_is_read_from_its_files(tmp_path, monkeypatch):
    """Only a sample is decoded for mean and std; broken heads are still found."""
    write_folder(tmp_path / "root")
    (tmp_path / "root/train/cat/0.jpg").write_bytes(b"no image")
    monkeypatch.setattr(
        "tune_cnn.training.data.sources.registry.image_folder",
        lambda data: image_folder(data, largest_cache_bytes=1000),
    )
    sets = prepared(tmp_path, "image_folder", image_size=16, max_broken=1)
    assert sets.train.images is None and len(sets.train) + len(sets.validation) + len(sets.test) == 11
    assert "aren't cached" in str(sets.facts.notes) and "train/cat/0.jpg" in str(sets.facts.notes)
    assert not list((tmp_path / "cache").rglob("images.npy"))
    first = DECODING.decode(tmp_path / "root" / sets.train.reader.paths[int(sets.train.rows[0])])
    np.testing.assert_array_equal(sets.train.fetch(np.arange(3), threads=2)[0], first)
    (tmp_path / "root" / sets.train.reader.paths[int(sets.train.rows[0])]).unlink()
    with pytest.raises(DataError, match="repair or remove"):
        sets.train.fetch(np.arange(1))
