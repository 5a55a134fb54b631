"""A home keeps its quota: older checkpoints and long logs go, the oldest first, never a trial's only checkpoint."""

import os
from pathlib import Path

import pytest

from tune_cnn.study.searching.home_quota import LOG_BYTES, LOOK_S, HomeQuota, keep_within
from tune_cnn.training.data.cache_quota import DISK_GB

SHA = "0" * 64


def checkpoint(
    home: Path, trial: int, epoch: int, *, step: int | None = None, changed_s: float, size: int = 100
) -> Path:
    within = "" if step is None else f"-{step:06d}"
    path = home / "study" / "checkpoints" / f"{trial:06d}" / f"checkpoint-{epoch:06d}{within}-{SHA}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0" * size)
    os.utime(path, (changed_s, changed_s))
    return path


def test_the_oldest_of_several_checkpoints_goes_first(tmp_path: Path) -> None:
    """The newest of each trial stays, by epoch and by the step within it."""
    first = checkpoint(tmp_path, 0, 1, changed_s=100)
    first_new = checkpoint(tmp_path, 0, 1, step=40, changed_s=150)
    second = checkpoint(tmp_path, 1, 9, changed_s=50)
    second_new = checkpoint(tmp_path, 1, 10, changed_s=200)
    assert keep_within(tmp_path, 350) == 300
    assert not second.exists() and first.exists()
    assert keep_within(tmp_path, 150) == 200, "each of the two that are left is the only one of its trial"
    assert not first.exists() and first_new.exists() and second_new.exists()


def test_a_log_keeps_its_last_lines(tmp_path: Path) -> None:
    """Who appends to it goes on."""
    log = tmp_path / "study" / "outbox.log"
    log.parent.mkdir()
    log.write_bytes(b"".join(b"line %09d\n" % number for number in range(200_000)))
    with log.open("a") as appending:
        assert keep_within(tmp_path, LOG_BYTES) == LOG_BYTES
        appending.write("the next line\n")
    lines = log.read_text().splitlines()
    assert lines[0].startswith("line ") and len(lines[0]) == len("line 000000000")
    assert lines[-2:] == ["line 000199999", "the next line"]
    assert log.stat().st_size <= LOG_BYTES + len("the next line\n")


def test_nothing_else_is_touched(tmp_path: Path) -> None:
    for name in ("study/report.html", "study/checkpoints/000000/mine.pt", "studies.db"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0" * 1000)
    assert keep_within(tmp_path, 1) == 0
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 3


def test_a_quota_that_can_not_be_kept_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And looked at again a minute later."""
    monkeypatch.setenv(DISK_GB, "0.000001")
    said: list[str] = []
    now_s = 0.0
    quota = HomeQuota(tmp_path, said.append, clock=lambda: now_s)
    checkpoint(tmp_path, 0, 1, changed_s=100, size=2000)
    quota.keep()
    assert len(said) == 1 and "more than TUNE_CNN_DISK_GB allows" in said[0]
    older = checkpoint(tmp_path, 0, 0, changed_s=50, size=2000)
    quota.keep()
    assert older.exists()
    now_s = LOOK_S
    quota.keep()
    assert not older.exists() and len(said) == 1
