"""The cache of decoded images: shared, whole, rebuilt when damaged."""

import errno
import json
import os

import numpy as np
import pytest
from decode_together import decode_together
from image_files import write_folder

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.training.data import cache_writer
from tune_cnn.training.data.cache import cached
from tune_cnn.training.data.loaders.processes import LoaderContext
from tune_cnn.training.data.sources.digits import digits
from tune_cnn.training.data.sources.folder.image_folder import image_folder


def _entry(tmp_path):
    return cached(digits(None), tmp_path / "cache")


def _damage_images(folder):
    os.truncate(folder / "images.npy", 5000)


def _damage_shape(folder):
    np.save(folder / "images.npy", np.zeros((1797, 1, 8, 9), np.uint8))


def _damage_labels(folder):
    np.save(folder / "labels.npy", np.zeros(1797, np.int64))


def _damage_facts(folder):
    header = json.loads((folder / "facts.json").read_text())
    (folder / "facts.json").write_text(json.dumps(header | {"classes": ["a"] * 10}))


def _cut_facts(folder):
    (folder / "facts.json").write_text('{"version": 1')


def _foreign(folder):
    header = json.loads((folder / "facts.json").read_text())
    (folder / "facts.json").write_text(json.dumps(header | {"version": 99}))


def _empty(folder):
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    "damage", [_damage_images, _damage_shape, _damage_labels, _damage_facts, _cut_facts, _foreign, _empty]
)
def test_a_torn_or_foreign_entry_is_built_again(tmp_path, damage):
    """Whatever is wrong with it, the images are right afterwards."""
    before = _entry(tmp_path)
    images, labels = np.array(before.images), before.labels_n
    damage(before.folder)
    after = _entry(tmp_path)
    np.testing.assert_array_equal(after.images, images)
    np.testing.assert_array_equal(after.labels_n, labels)
    assert (after.key, after.classes) == (before.key, before.classes)


def test_a_whole_entry_is_not_decoded_again(tmp_path):
    """The file stays the same one."""
    inode = (_entry(tmp_path).folder / "images.npy").stat().st_ino
    assert (_entry(tmp_path).folder / "images.npy").stat().st_ino == inode


def test_processes_that_want_it_at_once_decode_it_once(tmp_path):
    """Three processes, started together: one decodes, the others wait for it."""
    root = write_folder(tmp_path / "root", per_class=20)
    context = LoaderContext()
    together, said = context.Barrier(3), context.Queue()
    for _ in range(3):
        context.Process(target=decode_together, args=(root, tmp_path / "cache", together, said)).start()
    answers = [said.get(timeout=60) for _ in range(3)]
    context.end()
    assert sorted(decoded for decoded, *_ in answers) == [0, 0, 1]
    assert {count for _, count, *_ in answers} == {40}
    assert len({(key, inode) for _, _, key, inode in answers}) == 1


def test_what_a_killed_process_left_is_cleared_away(tmp_path):
    """A temporary folder never counts, and goes when the entry is built."""
    key = digits(None).key
    left = tmp_path / "cache" / f"{key}.tmp123"
    left.mkdir(parents=True)
    (left / "images.npy").write_bytes(b"half")
    _entry(tmp_path)
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == [key, f"{key}.lock", f"{key}.used"]


def test_a_full_disk_says_where_and_how_much(tmp_path, monkeypatch):
    """And leaves nothing half-written behind."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache_writer, "_sync", full)
    with pytest.raises(DataError, match=r"cache is full.*115,008 bytes"):
        _entry(tmp_path)
    assert not list((tmp_path / "cache").glob("*.tmp*"))


def test_a_cache_that_cannot_be_a_folder_is_named(tmp_path):
    """A file stands where it should be."""
    (tmp_path / "cache").write_text("x")
    with pytest.raises(DataError, match="can't be written in"):
        _entry(tmp_path)


def test_a_changed_file_is_another_entry(tmp_path):
    """A folder's key has every file's size and time."""
    write_folder(tmp_path / "root")
    small, other = (DataSpec(name="image_folder", root=str(tmp_path / "root"), image_size=side) for side in (8, 9))
    before = image_folder(small).key
    assert image_folder(small).key == before != image_folder(other).key
    os.utime(tmp_path / "root/train/cat/0.jpg", ns=(1, 1))
    assert image_folder(small).key != before
