"""What a store does when files, disks, processes and servers fail: one sentence, and nothing lost."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tune_cnn.errors import StoreError, StudyError
from tune_cnn.records.store import Store


def run(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def new_study(home: Path) -> Store:
    store = Store(home)
    store.create_study("s", {}, info={})
    store.add_trial("s", 0, {}, seed=0)
    return store


def test_a_corrupt_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "studies.db").write_bytes(b"not a database, but long enough to be looked at " * 100)
    with pytest.raises(StoreError, match=r"studies\.db: is not a SQLite database; move it away"):
        Store(tmp_path)


def test_a_torn_file_is_reported_and_left_alone(tmp_path: Path) -> None:
    """Pages overwritten in the middle: the error names the file; nothing is deleted or made anew."""
    new_study(tmp_path).close()
    path = tmp_path / "studies.db"
    body = bytearray(path.read_bytes())
    body[4096:] = b"\xff" * (len(body) - 4096)
    path.write_bytes(body)
    with pytest.raises(StoreError, match="is corrupt"):
        Store(tmp_path).studies()
    assert path.read_bytes() == bytes(body)


@pytest.mark.parametrize("half", ["first", "second"])
def test_a_torn_page_is_said_wherever_it_is(tmp_path: Path, half: str) -> None:
    """One page of the file after another, half of it zeros: what is read, the check before a search, or nothing that
    counts. No damage ends in an error of a library, and none has points missing in silence."""
    store = new_study(tmp_path)
    for epoch in range(40):
        store.add_point("s", 0, epoch, {f"metric_{n}": n / 7 for n in range(20)})
    store.close()
    path, size = tmp_path / "studies.db", 4096
    whole = path.read_bytes()
    said = 0
    for at in range(0, len(whole), size):
        kept = (slice(at, at + size // 2), slice(at + size // 2, at + size))[half == "second"]
        torn = bytearray(whole)
        torn[kept] = bytes(size // 2)
        path.write_bytes(torn)
        try:
            store = Store(tmp_path)
            try:
                store.check_whole()
                assert store.study("s") is not None
                assert len(store.trials("s")) == 1
                assert len(store.points("s")) == 40
            finally:
                store.close()
        except StoreError as error:
            assert "studies.db: is" in str(error), error
            said += 1
    assert said >= len(whole) // size // 2


def test_metrics_that_are_no_json_any_more_are_said(tmp_path: Path) -> None:
    """SQLite has no way of knowing."""
    store = new_study(tmp_path)
    store.add_point("s", 0, 1, {"accuracy": 0.5})
    store.close()
    with sqlite3.connect(tmp_path / "studies.db") as other:
        other.execute("UPDATE tune_cnn_points SET metrics = replace(metrics, ':', '\x01')")
    with pytest.raises(StoreError, match=r"studies\.db: is corrupt; restore it .*no JSON"):
        Store(tmp_path).points("s")


def test_somebody_elses_database_is_refused_untouched(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "studies.db") as other:
        other.execute("CREATE TABLE invoices (id INTEGER)")
    with pytest.raises(StoreError, match=r"somebody else's tables \(invoices\)"):
        Store(tmp_path)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    new_study(tmp_path).close()
    with sqlite3.connect(tmp_path / "studies.db") as newer:
        newer.execute("UPDATE tune_cnn_schema SET version = 99")
    with pytest.raises(StoreError, match=r"newer tune_cnn \(its schema is 99"):
        Store(tmp_path)


def test_a_home_that_can_not_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="can't be created or written"):
        Store(tmp_path / "file" / "home")


def test_a_home_without_a_store_is_not_made_by_reading(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no study has been searched here"):
        Store(tmp_path / "home", create=False)
    assert not (tmp_path / "home").exists()


FULL = """
import resource, sys
from tune_cnn.errors import StoreError
from tune_cnn.records.store import Store
store = Store(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (800_000, 800_000))
done = 0
try:
    for epoch in range(1, 10_000):
        store.add_point("s", 0, epoch, {"accuracy": 0.5})
        done = epoch
except StoreError as error:
    print(done, error, flush=True)
"""


def test_a_full_disk_is_reported_and_keeps_what_was_committed(tmp_path: Path) -> None:
    """Every point whose commit returned is there once there is room again."""
    store = new_study(tmp_path)
    process = run(FULL, tmp_path)
    done, _, message = line(process).partition(" ")
    process.wait()
    assert int(done) > 10 and "disk" in message and str(tmp_path) in message
    assert [p.epoch for p in store.points("s")] == list(range(1, int(done) + 1))
    assert store.add_point("s", 0, int(done) + 1, {"accuracy": 0.5})


WRITER = """
import sys
from tune_cnn.records.store import Store
store = Store(sys.argv[1])
with store.lease("s"):
    for epoch in range(1, 100_000):
        store.add_point("s", 0, epoch, {"accuracy": 0.5}, checkpoint=f"c{epoch}")
        print(epoch, flush=True)
"""


def test_a_killed_writer_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """kill -9 between commits or in one: each reported point is there once, with its change; the lease is free."""
    store = new_study(tmp_path)
    process = run(WRITER, tmp_path)
    acknowledged = [line(process) for _ in range(40)]
    os.kill(process.pid, signal.SIGKILL)
    acknowledged += process.communicate()[0].split()
    epochs = [p.epoch for p in store.points("s")]
    assert epochs == list(range(1, len(epochs) + 1)) and len(epochs) in {len(acknowledged), len(acknowledged) + 1}
    assert [c.epoch for c in store.deliveries.waiting("s", 10**6) if c.kind == "point"] == epochs
    assert store.checkpoint("s", 0) == f"c{epochs[-1]}"
    with store.lease("s"):
        assert not store.add_point("s", 0, epochs[-1], {"accuracy": 0.9})


HOLDER = """
import sys
from tune_cnn.records.store import Store
with Store(sys.argv[1]).lease("s"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_another_process_holds_its_lease_until_it_ends(tmp_path: Path) -> None:
    store = new_study(tmp_path)
    process = run(HOLDER, tmp_path)
    assert line(process) == "held"
    with pytest.raises(StudyError, match=f"by process {process.pid} on "):
        store.lease("s").__enter__()
    process.communicate("\n")
    with store.lease("s"):
        pass


def test_an_unreachable_postgresql_is_reported_without_its_password(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="the driver psycopg is not installed")
    with pytest.raises(StoreError) as caught:
        Store(f"postgresql+psycopg://user:geheim@/db?host={tmp_path}")
    assert "the database doesn't answer" in str(caught.value) and "geheim" not in str(caught.value)


def test_other_databases_are_refused() -> None:
    with pytest.raises(StoreError, match="a store is SQLite or PostgreSQL, got 'mysql'") as caught:
        Store("mysql://user:geheim@host/db")
    assert "geheim" not in str(caught.value)
