"""The user's own data set: what it may be, and what is said where it is something else."""

import textwrap

import numpy as np
import pytest
import torch
from image_files import prepared

from tune_cnn.errors import DataError, InputError
from tune_cnn.training.data.sources.user_items import check_item

MODULE = """
import torch
from torch.utils.data import TensorDataset

class Images:
    def __init__(self, count, *, random=False, label=lambda i: i % 3, first=0, **kinds):
        self.count, self.random, self.first, self.kinds = count, random, first, kinds
        self.labels = [label(i) for i in range(count)]
    def __len__(self):
        return self.count
    def __getitem__(self, i):
        shape = self.kinds.get("shape", lambda i: (2, 6, 6))(i)
        image = torch.full(shape, (self.first + i) % 256, dtype=self.kinds.get("dtype", torch.uint8))
        image[..., -1:] = (self.first + i + 128) % 256
        if self.random:
            image[0, 0, 0] = int(torch.randint(0, 256, ()))
        return image, self.labels[i]
"""


@pytest.fixture
def users(tmp_path, monkeypatch):
    """Prepare what f(root) of a module of the user's returns."""
    count = iter(range(100))

    def make(body, **spec):
        name = f"users_{tmp_path.name.replace('-', '_')}_{next(count)}"
        (tmp_path / f"{name}.py").write_text(MODULE + textwrap.dedent(body))
        monkeypatch.syspath_prepend(tmp_path)
        return prepared(tmp_path, f"{name}:f", **spec)

    return make


def test_a_users_parts_are_used_and_missing_ones_split_off(users):
    """validation is given, test is None: it comes out of train."""
    sets = users("def f(root): return Images(60), Images(9, first=100), None")
    facts = sets.facts
    assert (facts.train_images, facts.validation_images, facts.test_images) == (54, 9, 6)
    assert (facts.classes, facts.image_shape) == (("0", "1", "2"), (2, 6, 6))
    assert sets.train.fetch(np.array([5]))[0, 0, 0, 0] == sets.train.indices[5]


@pytest.mark.parametrize("shape", [(12, 100, 1), (5, 6, 6), (3, 6, 4), (4, 6, 3)])
def test_any_number_of_channels_and_narrow_images_are_taken(shape):
    """A signal of twelve sensors, five bands of light, small strips."""
    item = check_item("mine", "train[0]", (torch.zeros(shape, dtype=torch.uint8), 1))
    assert item.image_chw.shape == shape


def test_names_of_classes_come_from_the_data_set(users):
    """As torchvision's data sets have them."""
    body = """
        def f(root):
            train = Images(60)
            train.classes = ["a", "b", "c"]
            return train, None, None
    """
    assert users(body).facts.classes == ("a", "b", "c")


def test_images_that_change_between_readings_are_not_cached(users, tmp_path):
    """Said in the notes; they are read through the data set each time."""
    sets = users("def f(root): return Images(60, random=True), None, Images(12)")
    assert sets.train.images is None and "change from one reading" in str(sets.facts.notes)
    assert not list((tmp_path / "cache").rglob("images.npy"))
    readings = [sets.train.fetch(np.arange(50)) for _ in range(2)]
    assert not np.array_equal(*readings) and np.array_equal(readings[0][:, :, 1:], readings[1][:, :, 1:])


def test_a_changed_module_is_decoded_again(tmp_path, users):
    """Its source is in the key of the cache."""
    first = users("def f(root): return Images(60), None, None")
    second = users("def f(root): return Images(63), None, None")
    assert first.facts.key != second.facts.key and first.train.path != second.train.path


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("def f(root): raise KeyError('x')", r"f\(.*\) raised KeyError"),
        ("def f(root): return Images(9)", "must return .*got Images"),
        ("def f(root): return Images(9), None", "got 2 values"),
        ("def f(root): return None, None, None", "got None for train"),
        ("def f(root): return 5, None, None", "train must be a map-style data set.*got int"),
        ("def f(root): return Images(0), None, None", "train has no images"),
        ("def f(root): return Images(60, dtype=torch.float32), None, None", "got float32 of shape"),
        ("def f(root): return Images(60, shape=lambda i: (6, 6)), None, None", r"of shape \(6, 6\)"),
        ("def f(root): return Images(600, shape=lambda i: (1, 6 + (i == 1), 6)), None, None", r"one size.*train\[1\]"),
        *[
            (f"def f(root): return Images(60, shape=lambda i: {shape}), None, None", r"channels; give image.permute")
            for shape in [(6, 6, 3), (8, 6, 4), (6, 6, 1)]
        ],
        ("def f(root): return Images(60, label=lambda i: 0.5), None, None", "a label must be an int.*float"),
        ("def f(root): return Images(60, label=lambda i: -(i % 2)), None, None", "one class only|got -1"),
        ("def f(root): return Images(60, label=lambda i: i % 3 - 1), None, None", "must be 0 to 1, got -1"),
        ("def f(root): return Images(60), Images(9, label=lambda i: 7), None", "got 7 at validation image 0"),
        ("def f(root): return Images(60, label=lambda i: 2 * (i % 2)), None, None", "have none: '1'"),
        ("def f(root): return Images(60, label=lambda i: 4), None, None", "have none: '0', '1'"),
        ("def f(root): return Images(60, label=lambda i: 0), None, None", "one class only"),
        ("def f(root): return Images(60, label=lambda i: 10**9), None, None", "numbered from 0 without gaps"),
        ("def f(root): return [(1, 2, 3)] * 9, None, None", r"got 3 values at train\[0\]"),
        ("def f(root): return [('a', 2)] * 9, None, None", "got an image of type str"),
        ("g = 1", "has no 'f'"),
        ("f = 1", "must be something that can be called, got int"),
        ("import no_such_thing", "ModuleNotFoundError"),
    ],
)
def test_what_a_factory_returns_is_held_against_the_contract(users, body, word):
    """One clear message each, with what came."""
    with pytest.raises(InputError, match=word):
        users(body)


def test_an_item_that_raises_is_named(users):
    """Which part, which item, what."""
    body = """
        class Raises(Images):
            def __getitem__(self, i):
                if i == 1:
                    raise OSError("gone")
                return super().__getitem__(i)
        def f(root): return Raises(600), None, None
    """
    with pytest.raises(DataError, match=r"train\[1\] raised OSError: gone"):
        users(body)
