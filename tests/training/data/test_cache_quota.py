"""A node's cache keeps its quota: what was used longest ago goes, and never what a process uses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tune_cnn.errors import DataError
from tune_cnn.spec import DataSpec
from tune_cnn.training.data.cache_quota import DISK_GB, make_room, quota_bytes
from tune_cnn.training.data.prepare import prepare

USE = """
import sys
from pathlib import Path
from tune_cnn.training.data.cache_quota import hold
hold(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.readline()
"""


def entry(cache: Path, name: str, size: int, *, used_s: float) -> Path:
    folder = cache / name
    folder.mkdir(parents=True)
    (folder / "images.npy").write_bytes(b"\0" * size)
    (folder / "facts.json").write_text(json.dumps({}))
    used = Path(f"{folder}.used")
    used.touch()
    os.utime(used, (used_s, used_s))
    return folder


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    """And no more of it than is needed."""
    for name, used_s in (("b", 200.0), ("a", 300.0), ("c", 100.0)):
        entry(tmp_path, name, 1000, used_s=used_s)
    assert make_room(tmp_path, 500, quota=2700) == ["c"]
    assert make_room(tmp_path, 500, quota=2700) == []
    assert (tmp_path / "a").is_dir() and (tmp_path / "b").is_dir() and not (tmp_path / "c").exists()


def test_what_a_process_uses_stays(tmp_path: Path) -> None:
    """Until that process has ended, however it does."""
    old = entry(tmp_path, "old", 1000, used_s=100.0)
    entry(tmp_path, "new", 1000, used_s=200.0)
    user = subprocess.Popen(
        [sys.executable, "-c", USE, str(old)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert user.stdout is not None and user.stdout.readline().strip() == "held"
    os.utime(f"{old}.used", (100.0, 100.0))
    assert make_room(tmp_path, 500, quota=1700) == ["new"]
    with pytest.raises(DataError, match=f"raise {DISK_GB}, or end what uses them"):
        make_room(tmp_path, 500, quota=1200)
    user.kill()
    user.wait()
    assert make_room(tmp_path, 500, quota=1200) == ["old"]


def test_decoding_keeps_the_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digits are 115,008 bytes: with room for them the old set goes, without they are refused with a way out."""
    old = entry(tmp_path, "old", 150_000, used_s=100.0)
    monkeypatch.setenv(DISK_GB, "0.0002")
    prepare(DataSpec(name="digits"), split_seed=0, cache_dir=tmp_path)
    assert not old.exists()
    monkeypatch.setenv(DISK_GB, "0.00005")
    with pytest.raises(DataError, match=r"may hold 5e-05 GB, by TUNE_CNN_DISK_GB"):
        prepare(DataSpec(name="digits"), split_seed=0, cache_dir=tmp_path / "other")


def test_without_a_quota_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DISK_GB, raising=False)
    old = entry(tmp_path, "old", 150_000, used_s=100.0)
    prepare(DataSpec(name="digits"), split_seed=0, cache_dir=tmp_path)
    assert quota_bytes() is None and old.is_dir()


@pytest.mark.parametrize("text", ["much", "0", "-1", "nan"])
def test_a_quota_that_is_no_size_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DISK_GB, text)
    with pytest.raises(DataError, match=f"{DISK_GB}: must be a number of GB above 0, got '{text}'"):
        quota_bytes()
