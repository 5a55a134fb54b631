"""Files under an image's name that can't be read as one: each kind with its own way out."""

import ctypes
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from inputs.folders import prepared
from inputs.pictures import write_folder

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.training.data.prepare import prepare


@pytest.fixture
def root(tmp_path) -> Path:
    """train/cat and train/dog with 20 pictures each."""
    return write_folder(tmp_path / "root")


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


def test_a_class_in_the_root_that_this_user_may_not_look_into_does_not_vanish(tmp_path):
    root = write_folder(tmp_path / "root", parts=(".",), classes=("bird", "cat", "dog"))
    (root / "bird").chmod(0)
    try:
        with pytest.raises(DataError, match="bird can't be looked into: Permission denied"):
            as_a_user(lambda: prepared(root, tmp_path / "cache"))
    finally:
        (root / "bird").chmod(0o700)


def test_a_published_set_in_a_folder_that_this_user_may_not_enter(tmp_path):
    (tmp_path / "root").mkdir(mode=0)
    data = DataSpec(name="cifar10", root=str(tmp_path / "root"), offline=True)
    with pytest.raises(DataError, match="root can't be looked into: Permission denied"):
        as_a_user(lambda: prepare(data, split_seed=0, cache_dir=tmp_path / "cache"))


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
