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


def test_within_an_epoch_the_step_decides_and_between_epochs_comes_before_both(tmp_path):
    """Also where numbers grow beyond the digits of the names; what is older than the newest two goes."""
    kept = checkpoints(tmp_path)
    taken = [(1, 0), (1, 7), (1, 999_999), (1, 1_000_000), (2, 0), (2, 1)]
    for older, at in zip([None, *taken], taken, strict=False):
        written = kept.write(state(at[0]), *at)
        found = checkpoints(tmp_path)
        newest = found.newest()
        assert newest is not None and newest[1] == written and found.newest_at == kept.newest_at == at
        if older is not None:
            flip_a_bit(Path(written))
            found = checkpoints(tmp_path)
            assert found.newest() is not None and found.newest_at == older
            kept.write(state(at[0]), *at)
        assert len(files(tmp_path)) == (1 if older is None else 2)


def test_going_on_from_an_earlier_step_drops_the_later_ones(tmp_path):
    """As from an earlier epoch."""
    kept = checkpoints(tmp_path)
    kept.write(state(3), 3, 50)
    kept.write(state(3), 3, 60)
    written = checkpoints(tmp_path).write(state(3), 3, 20)
    assert files(tmp_path) == [Path(written).name]


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


def test_within_an_epoch_one_is_due_as_often_and_never_at_each_step_of_a_slow_disk(tmp_path, monkeypatch):
    """A write that took 6 s comes a minute later at the soonest; 0 s between them means each epoch, and no step."""
    now_s = [1000.0]
    monkeypatch.setattr("tune_cnn.training.checkpoint.time.monotonic", lambda: now_s[0])
    kept = checkpoints(tmp_path / "slow", every_s=30.0)
    now_s[0] += 29.0
    assert not kept.due_within_epoch()
    now_s[0] += 1.0
    assert kept.due_within_epoch()
    write = kept._write

    def slowly(*arguments) -> None:
        now_s[0] += 6.0
        write(*arguments)

    monkeypatch.setattr(kept, "_write", slowly)
    kept.write(state(1), 1, 5)
    now_s[0] += 59.0
    assert kept.due() and not kept.due_within_epoch()
    now_s[0] += 2.0
    assert kept.due_within_epoch()
    each = checkpoints(tmp_path / "each", every_s=0.0)
    assert each.due() and not each.due_within_epoch()
    assert not Checkpoints(None, every_s=1.0).due_within_epoch()


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
