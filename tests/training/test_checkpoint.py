"""Checkpoints are whole or absent, checked when read, and never worth a trial's life."""

import hashlib
import io
import logging
import os
import pickle
import resource
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch

from tune_cnn.errors import InputError
from tune_cnn.training.checkpoint import Checkpoints


def state(epoch: int) -> dict:
    return {"model": {"weight": torch.full((64,), float(epoch))}, "epoch": epoch, "meters": {"train_time_s": 1.5}}


def checkpoints(folder, every_s: float = 0.0) -> Checkpoints:
    return Checkpoints(str(folder), every_s=every_s)


def files(folder: Path) -> list[str]:
    return sorted(f.name for f in folder.iterdir())


def test_what_was_written_is_read_back_with_its_path(tmp_path):
    """Another process's object finds the newest state, tensors included."""
    path = checkpoints(tmp_path / "new" / "folder").write(state(3), 3)
    found = checkpoints(tmp_path / "new" / "folder").newest()
    assert found is not None and found[1] == path and Path(path).exists()
    assert found[0]["epoch"] == 3 and torch.equal(found[0]["model"]["weight"], torch.full((64,), 3.0))
    assert found[0]["meters"] == {"train_time_s": 1.5}


def test_the_newest_two_are_kept(tmp_path):
    """The one before stays in case the newest turns out corrupt; older ones go, temporary files too."""
    kept = checkpoints(tmp_path)
    leftover = tmp_path / f".checkpoint-000001-{'0' * 64}.pt.123.tmp"
    leftover.write_bytes(b"of a killed process")
    paths = [kept.write(state(epoch), epoch) for epoch in (1, 2, 9, 10)]
    assert files(tmp_path) == sorted(Path(p).name for p in paths[-2:])


def test_epochs_are_ordered_as_numbers(tmp_path):
    """Epoch 1,000,000 is newer than 999,999 though its name sorts before."""
    kept = checkpoints(tmp_path)
    kept.write(state(999_999), 999_999)
    kept.write(state(1_000_000), 1_000_000)
    found = checkpoints(tmp_path).newest()
    assert found is not None and found[0]["epoch"] == 1_000_000


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, caplog, damage):
    """The warning says which file, why, and what is used instead."""
    kept = checkpoints(tmp_path)
    before, newest = Path(kept.write(state(1), 1)), Path(kept.write(state(2), 2))
    damage(newest)
    found = checkpoints(tmp_path).newest()
    assert found is not None and found[1] == str(before) and found[0]["epoch"] == 1
    assert str(newest) in caplog.text and "checksum" in caplog.text and str(before) in caplog.text


def test_with_all_damaged_there_is_none(tmp_path, caplog):
    """Nothing readable left: None, and the warning says that the trial begins anew."""
    damaged = Path(checkpoints(tmp_path).write(state(1), 1))
    flip_a_bit(damaged)
    assert checkpoints(tmp_path).newest() is None
    assert "start from the beginning" in caplog.text


def test_a_damaged_one_is_not_what_is_kept_beside_the_next(tmp_path):
    """After a restart past a damaged checkpoint the sound one before it outlives the next write."""
    first = checkpoints(tmp_path)
    sound, damaged = first.write(state(4), 4), Path(first.write(state(5), 5))
    flip_a_bit(damaged)
    again = checkpoints(tmp_path)
    again.newest()
    written = again.write(state(6), 6)
    assert files(tmp_path) == sorted([Path(sound).name, Path(written).name])


def test_going_on_from_an_earlier_epoch_drops_the_later_ones(tmp_path):
    """What a trial did after the point that it now goes on from is no longer its past."""
    kept = checkpoints(tmp_path)
    kept.write(state(8), 8)
    kept.write(state(9), 9)
    written = checkpoints(tmp_path).write(state(3), 3)
    assert files(tmp_path) == [Path(written).name]


def test_foreign_files_are_neither_read_nor_removed(tmp_path):
    """A file that isn't ours stays untouched by all of write, newest and remove."""
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "checkpoint-000099-model.pt").write_bytes(b"mine too")
    kept = checkpoints(tmp_path)
    kept.write(state(1), 1)
    found = kept.newest()
    assert found is not None and found[0]["epoch"] == 1
    kept.remove()
    assert files(tmp_path) == ["checkpoint-000099-model.pt", "notes.txt"]


class _Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("save", [torch.save, partial(pickle.dump, protocol=2)])
def test_code_in_a_file_is_never_run(tmp_path, caplog, save):
    """A pickle that calls a function is refused, though its checksum is right."""
    trap = io.BytesIO()
    save({"model": _Runs(tmp_path / "ran")}, trap)
    name = f"checkpoint-000001-{hashlib.sha256(trap.getvalue()).hexdigest()}.pt"
    (tmp_path / name).write_bytes(trap.getvalue())
    assert checkpoints(tmp_path).newest() is None
    assert not (tmp_path / "ran").exists()
    assert name in caplog.text


@contextmanager
def full_disk(room_bytes: int):
    """The kernel refuses to let any file grow further, as it does on a full disk (EFBIG for ENOSPC)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_costs_the_checkpoint_not_the_trial(tmp_path, caplog):
    """The path of the one that stands is returned, no partial file stays, and it is said once until it works again."""
    kept = checkpoints(tmp_path)
    before = kept.write(state(1), 1)
    with full_disk(500):
        assert kept.write(state(2), 2) == before
        assert kept.write(state(3), 3) == before
    assert files(tmp_path) == [Path(before).name]
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1
    assert "epoch 2" in caplog.text and before in caplog.text
    assert Path(kept.write(state(4), 4)).exists()
    with full_disk(500):
        kept.write(state(5), 5)
    assert len(caplog.records) == 2


def test_a_folder_that_can_not_be_made_costs_no_trial(tmp_path, caplog):
    """Where a file stands in the folder's place every call says so or does nothing; none raises."""
    (tmp_path / "taken").write_text("a file")
    kept = checkpoints(tmp_path / "taken")
    assert kept.write(state(1), 1) == ""
    assert kept.newest() is None
    kept.remove()
    assert "can't be written" in caplog.text and "can't be listed" in caplog.text
    assert (tmp_path / "taken").read_text() == "a file"


def test_a_state_that_can_not_be_saved_is_our_fault_and_raises(tmp_path):
    """Only the storage's failures are forgiven; nothing is left on disk."""
    with pytest.raises((pickle.PicklingError, AttributeError)):
        checkpoints(tmp_path).write({"function": lambda: None}, 1)
    assert files(tmp_path) == []


def test_without_a_folder_nothing_is_ever_due_or_written():
    """folder=None switches checkpoints off."""
    kept = Checkpoints(None, every_s=0.0)
    assert not kept.due()
    assert kept.write(state(1), 1) == ""
    assert kept.newest() is None
    kept.remove()
    assert kept.checkpoint_time_s == 0


def test_one_is_due_when_the_interval_has_passed_since_the_last(tmp_path, monkeypatch):
    """With an hour between them: not at the start, but an hour later, and not again after a try, even a failed one."""
    now_s = [1000.0]
    monkeypatch.setattr("tune_cnn.training.checkpoint.time.monotonic", lambda: now_s[0])
    (tmp_path / "taken").write_text("a file")
    for folder in (tmp_path / "free", tmp_path / "taken"):
        hourly = checkpoints(folder, every_s=3600.0)
        assert not hourly.due()
        now_s[0] += 3600.0
        assert hourly.due()
        hourly.write(state(1), 1)
        assert not hourly.due()


def test_writing_time_adds_up(tmp_path):
    """checkpoint_time_s grows with each write and with nothing else."""
    kept = checkpoints(tmp_path)
    assert kept.checkpoint_time_s == 0
    kept.write(state(1), 1)
    once = kept.checkpoint_time_s
    assert once > 0
    kept.newest()
    assert kept.checkpoint_time_s == once
    kept.write(state(2), 2)
    assert kept.checkpoint_time_s > once


def test_remove_leaves_no_folder(tmp_path):
    """A finished trial's checkpoints go, with the folder that was theirs; a second call does nothing."""
    kept = checkpoints(tmp_path / "trial")
    kept.write(state(1), 1)
    kept.remove()
    assert not (tmp_path / "trial").exists()
    kept.remove()
    assert kept.newest() is None


def test_a_file_uri_is_the_local_folder(tmp_path):
    """file:// and the plain path are the same place."""
    path = Checkpoints(f"file://{tmp_path}/trial", every_s=0).write(state(1), 1)
    assert path == str(tmp_path / "trial" / Path(path).name)
    found = checkpoints(tmp_path / "trial").newest()
    assert found is not None and found[1] == path


def test_an_object_store_keeps_the_same_contract():
    """On PyArrow's in-memory store: written, found again, two kept, removed."""
    kept = Checkpoints("mock:///bucket/trial", every_s=0)
    assert kept.newest() is None
    paths = [kept.write(state(epoch), epoch) for epoch in (1, 2, 3)]
    assert paths[-1].startswith("mock:///bucket/trial/checkpoint-000003-")
    found = kept.newest()
    assert found is not None and found[1] == paths[-1] and found[0]["epoch"] == 3
    kept.remove()
    assert kept.newest() is None


def test_a_uri_that_no_storage_knows_is_the_users_mistake():
    """An unknown scheme is refused with what must hold and what came."""
    with pytest.raises(InputError, match="nowhere://bucket"):
        Checkpoints("nowhere://bucket", every_s=0).write(state(1), 1)
