"""The verdict over a search after a fault sees each thing that may be wrong: it is held against doctored databases."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from faults.verdict import Record, read_record, read_runs, wrongs

from tune_cnn.records.store import Store
from tune_cnn.spec import parse_spec
from tune_cnn.states import StudyState, TrialState

SPEC = {
    "study": "faults",
    "data": {"name": "digits"},
    "model": {"name": "small_cnn"},
    "space": {"epochs": 2, "batch_size": [64, 128]},
    "budget": {"trials": 2},
}
ACCURACY = {(0, 1): 0.5, (0, 2): 0.8, (1, 1): 0.6, (1, 2): 0.7}


@pytest.fixture
def delivered(tmp_path: Path) -> Iterator[Path]:
    """A finished study of two trials, and MLflow as it is once all is delivered (the tables that the verdict reads)."""
    store = Store(tmp_path)
    store.create_study("faults", parse_spec(SPEC).model_dump(), info={})
    mlflow = sqlite3.connect(tmp_path / "mlflow.db")
    mlflow.executescript(
        """
        CREATE TABLE experiments (experiment_id INTEGER, name TEXT); INSERT INTO experiments VALUES (1, 'faults');
        CREATE TABLE runs (run_uuid TEXT, experiment_id INTEGER, status TEXT);
        CREATE TABLE tags (run_uuid TEXT, key TEXT, value TEXT);
        CREATE TABLE metrics (run_uuid TEXT, key TEXT, step INTEGER, value REAL, is_nan INTEGER);
        INSERT INTO runs VALUES ('study', 1, 'FINISHED'), ('t0', 1, 'FINISHED'), ('t1', 1, 'FINISHED');
        INSERT INTO tags VALUES ('t0', 'tune_cnn.trial', '0'), ('t1', 'tune_cnn.trial', '1');
        """
    )
    for trial in (0, 1):
        store.add_trial("faults", trial, {"epochs": 2, "batch_size": 64}, seed=trial)
        for epoch in (1, 2):
            metrics = {"accuracy": ACCURACY[trial, epoch], "train_time_s": float(epoch), "val_loss": 0.1}
            store.add_point("faults", trial, epoch, metrics)
            rows = [(f"t{trial}", name, epoch, value) for name, value in metrics.items()]
            mlflow.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, 0)", rows)
        store.end_trial("faults", trial, TrialState.COMPLETE)
    store.update_study("faults", state=StudyState.FINISHED)
    store.deliveries.acknowledge("faults", [change.id for change in store.deliveries.waiting("faults", 1000)])
    store.close()
    mlflow.commit()
    mlflow.close()
    yield tmp_path


def verdict(folder: Path, before: Record | None = None, *, trials: int = 2, may_fail: int = 0) -> list[str]:
    record = read_record(f"sqlite:///{folder / 'studies.db'}")
    assert record is not None
    return list(wrongs(record, read_runs(folder / "mlflow.db"), trials=trials, before=before, may_fail=may_fail))


def doctor(folder: Path, sql: str, file: str = "studies.db") -> None:
    with closing(sqlite3.connect(folder / file)) as database:
        database.executescript(sql)
        database.commit()


def test_nothing_is_wrong_with_what_is_whole(delivered: Path) -> None:
    """The record of the very moment is what it is compared with."""
    before = read_record(f"sqlite:///{delivered / 'studies.db'}")
    assert verdict(delivered, before) == []


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("DELETE FROM tune_cnn_points WHERE trial = 0 AND epoch = 1", "trial 0 lacks epochs"),
        ("DELETE FROM tune_cnn_points WHERE trial = 0 AND epoch = 2", "complete with 1 of 2 epochs"),
        ("UPDATE tune_cnn_trials SET state = 'running' WHERE number = 1", "trial 1 is running"),
        ("UPDATE tune_cnn_trials SET state = 'failed', reason = 'bad luck' WHERE number = 1", "bad luck"),
        ("DELETE FROM tune_cnn_trials WHERE number = 1", "trials [0] instead of 2"),
        ("UPDATE tune_cnn_studies SET state = 'running'", "the study is running"),
        ("INSERT INTO tune_cnn_changes (study_id, kind, made_ms) VALUES (1, 'study', 0)", "1 changes wait"),
    ],
)
def test_each_wrong_in_the_store_is_seen(delivered: Path, sql: str, said: str) -> None:
    """Lost, unfinished and undelivered."""
    doctor(delivered, sql)
    assert said in "\n".join(verdict(delivered))


def test_a_point_that_stands_twice_is_seen(delivered: Path) -> None:
    """The tables forbid it; the verdict doesn't rely on them."""
    doctor(
        delivered,
        """
        CREATE TABLE copy AS SELECT * FROM tune_cnn_points; DROP TABLE tune_cnn_points;
        ALTER TABLE copy RENAME TO tune_cnn_points;
        INSERT INTO tune_cnn_points SELECT * FROM tune_cnn_points WHERE trial = 1 AND epoch = 2;
        """,
    )
    assert "trial 1 epoch 2 stands 2 times" in verdict(delivered)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (
            "INSERT INTO runs VALUES ('x', 1, 'FINISHED'); INSERT INTO tags VALUES ('x', 'tune_cnn.trial', '0')",
            "2 runs",
        ),
        ("INSERT INTO runs VALUES ('again', 1, 'FINISHED')", "2 runs of the study"),
        ("DELETE FROM tags WHERE value = '1'; DELETE FROM runs WHERE run_uuid = 't1'", "MLflow has runs of [0]"),
        ("UPDATE runs SET status = 'RUNNING' WHERE run_uuid = 't0'", "trial 0 is RUNNING, in the store complete"),
        ("UPDATE runs SET status = 'RUNNING' WHERE run_uuid = 'study'", "the study's run is RUNNING"),
        ("DELETE FROM metrics WHERE run_uuid = 't0' AND step = 2", "has accuracy of epochs [1], the store of [1, 2]"),
        ("UPDATE metrics SET value = 0.123 WHERE run_uuid = 't0' AND key = 'accuracy' AND step = 1", "accuracy 0.123"),
        ("INSERT INTO metrics SELECT * FROM metrics WHERE run_uuid = 't0' AND step = 1", "has 2 values of accuracy"),
        ("INSERT INTO metrics VALUES ('t1', 'accuracy', 3, 0.9, 0)", "of epochs [1, 2, 3]"),
    ],
)
def test_each_difference_between_mlflow_and_the_store_is_seen(delivered: Path, sql: str, said: str) -> None:
    """Doubled runs and values, lost ones, other states."""
    doctor(delivered, sql, "mlflow.db")
    assert said in "\n".join(verdict(delivered))


def test_an_mlflow_that_holds_nothing_is_seen(delivered: Path) -> None:
    """Its database isn't there, or has no tables yet: that is no crash of the verdict's, and no agreement."""
    (delivered / "mlflow.db").unlink()
    assert verdict(delivered) == ["MLflow holds no run"]


def test_what_was_committed_before_the_fault_must_stay(delivered: Path) -> None:
    """A point that is another one now, and a front that is smaller."""
    before = read_record(f"sqlite:///{delivered / 'studies.db'}")
    assert before is not None
    doctor(delivered, """UPDATE tune_cnn_points SET metrics = replace(metrics, '0.8', '0.3') WHERE trial = 0""")
    found = "\n".join(verdict(delivered, before))
    assert "trial 0 epoch 2 was committed before the fault" in found
    assert "the front has lost accuracy 0.8000 in 2 s" in found


def test_a_failure_that_is_the_faults_own_is_allowed_and_no_more(delivered: Path) -> None:
    """NaN ends one trial; two would be one too many."""
    doctor(delivered, "UPDATE tune_cnn_trials SET state = 'failed' WHERE number = 1")
    doctor(delivered, "UPDATE runs SET status = 'FAILED' WHERE run_uuid = 't1'", "mlflow.db")
    assert verdict(delivered, may_fail=1) == []
    assert verdict(delivered, may_fail=0) != []


def test_the_front_is_of_what_none_beats() -> None:
    """More accurate or faster, and of trials that have not failed."""
    one = Record(state="running", trials={}, points=[], waiting=0, delivery_error=None)
    points = [(0, 1, {"accuracy": a, "train_time_s": t}) for a, t in [(0.5, 1.0), (0.4, 2.0), (0.9, 3.0)]]
    assert replace(one, points=points).front == [(0.5, 1.0), (0.9, 3.0)]


def test_no_study_yet_is_no_record(tmp_path: Path) -> None:
    """Read in a search's first seconds."""
    Store(tmp_path).close()
    reading: Callable[[str], Record | None] = read_record
    assert reading(f"sqlite:///{tmp_path / 'studies.db'}") is None
