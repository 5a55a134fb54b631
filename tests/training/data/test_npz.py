"""npz:FILE: which array is what, the order of its dimensions, and pixels and labels of other kinds."""

from pathlib import Path

import numpy as np
import pytest
from image_files import prepared

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.training.data.sources.tables.array_layout import layout_of
from tune_cnn.training.data.sources.tables.npz_file import npz_file

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 3, 8, 9), dtype=np.uint8)
LABELS = np.arange(30) % 3


def write(tmp_path: Path, **arrays) -> Path:
    (tmp_path / "root").mkdir(exist_ok=True)
    np.savez_compressed(tmp_path / "root" / "set.npz", **arrays)
    return tmp_path / "root"


def read(root: Path):
    return npz_file(DataSpec(name="npz:set.npz", root=str(root)))


def refused(root: Path) -> str:
    with pytest.raises(DataError) as error:
        read(root).read()
    return str(error.value)


@pytest.mark.parametrize(
    ("images", "order", "expected"),
    [
        (PIXELS, "NCHW", PIXELS),
        (PIXELS.transpose(0, 2, 3, 1), "NHWC", PIXELS),
        (PIXELS[:, 0], "NHW", PIXELS[:, :1]),
        (PIXELS[:, :1].transpose(0, 2, 3, 1), "NHWC", PIXELS[:, :1]),
    ],
)
def test_each_order_of_dimensions_gives_the_same_pixels(tmp_path, images, order, expected):
    """Told from the shape, and said."""
    source = read(write(tmp_path, images=images, labels=LABELS))
    pixels, labels = source.read()["train"]
    np.testing.assert_array_equal(pixels, expected)
    assert labels.tolist() == LABELS.tolist() and source.image_shape == expected.shape[1:]
    assert any(note.startswith(f"the arrays' dimensions are {order}") for note in source.notes)


def test_other_channels_are_told_by_the_sides_that_are_equal():
    """Of a satellite's thirteen bands; what could be either is refused."""
    assert layout_of({"x": (5, 13, 64, 64)}, "f").order == "NCHW"
    assert layout_of({"x": (5, 64, 64, 13)}, "f").order == "NHWC"
    for shape in ((5, 3, 8, 3), (5, 9, 9, 9), (5, 12, 10, 11)):
        with pytest.raises(DataError, match="leaves open"):
            layout_of({"x": shape}, "f")


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("{}_images", "{}_labels"),  # MedMNIST
        ("x_{}", "y_{}"),  # Keras
        ("{}Data", "{}Target"),
    ],
)
def test_parts_are_the_arrays_names(tmp_path, images, labels):
    """train, val and test, as others name them; labels may be a column."""
    ends = {"train": slice(0, 18), "val": slice(18, 24), "test": slice(24, 30)}
    arrays = {images.format(part): PIXELS[where] for part, where in ends.items()}
    arrays |= {labels.format(part): LABELS[where, None] for part, where in ends.items()}
    write(tmp_path, **arrays)
    sets = prepared(tmp_path, "npz:set.npz")
    assert [len(part) for part in (sets.train, sets.validation, sets.test)] == [18, 6, 6]
    np.testing.assert_array_equal(sets.test.fetch(np.arange(6)), PIXELS[24:])


def test_real_pixels_and_names_of_classes(tmp_path):
    """Floats of 0 to 1 become 0 to 255, by one range for all parts; names become labels in their order."""
    names = np.array(["b", "a", "c"])[LABELS]
    root = write(
        tmp_path,
        x_train=PIXELS[:20] / 255,
        x_test=PIXELS[20:] / 510,
        y_train=names[:20],
        y_test=names[20:],
        extra=LABELS,
    )
    source = read(root)
    arrays = source.read()
    np.testing.assert_array_equal(arrays["train"][0], PIXELS[:20])
    assert abs(arrays["test"][0].astype(float) - PIXELS[20:] / 2).max() <= 0.5
    assert source.classes == ("a", "b", "c") and arrays["train"][1].tolist()[:3] == [1, 0, 2]
    assert any("not used: 'extra'" in note for note in source.notes)
    assert any("pixels are float64" in note for note in source.notes)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"pictures": PIXELS, "labels": LABELS}, "got pictures, labels; name them so"),
        ({"x_test": PIXELS, "y_test": LABELS}, "got x_test, y_test"),
        ({"x": PIXELS, "y": LABELS[:7]}, "30 images in 'x' and 7 labels in 'y'"),
        ({"x": PIXELS, "y": np.eye(3)[LABELS]}, "argmax(axis=1)"),
        ({"x": PIXELS, "y": LABELS / 2}, "must be whole numbers or names, got float64"),
        ({"x": PIXELS[0, 0], "y": LABELS[:8]}, "got the shape (8, 9)"),
        ({"x": np.full(PIXELS.shape, np.nan), "y": LABELS}, "no finite numbers"),
        ({"x_train": PIXELS, "y_train": LABELS, "x_test": PIXELS[:, :, 1:], "y_test": LABELS}, "set data.image_size"),
        ({"x_train": PIXELS, "y_train": LABELS, "x_test": PIXELS[:, 0], "y_test": LABELS}, "must be alike"),
        ({"x": PIXELS, "y": LABELS.astype(object)}, "without objects"),
    ],
)
def test_what_is_no_set_of_images_is_refused(tmp_path, arrays, said):
    """With what came, and what to write instead."""
    assert said in refused(write(tmp_path, **arrays))


def test_a_file_that_is_none_or_was_cut_is_named(tmp_path):
    """Its whole path is in the message."""
    root = write(tmp_path, images=PIXELS, labels=LABELS)
    path = root / "set.npz"
    path.write_bytes(path.read_bytes()[:-200])
    assert f"{path} can't be read as arrays" in refused(root)
    path.unlink()
    assert f"{path} can't be read as arrays" in refused(root)


def test_other_pixels_are_another_set(tmp_path):
    """By the checksums that the file keeps, whatever its date says."""
    first = read(write(tmp_path, images=PIXELS, labels=LABELS)).key
    assert read(write(tmp_path, images=PIXELS, labels=LABELS)).key == first
    assert read(write(tmp_path, images=255 - PIXELS, labels=LABELS)).key != first
