"""What MLflow has yet to be sent, and which runs there record what: a part of the store."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from sqlalchemy import Connection, and_, select, update

from tune_cnn.records import change_log
from tune_cnn.records.rows import Change, now_ms, plain
from tune_cnn.records.tables import studies, trials

Opened = Callable[[str], AbstractContextManager[tuple[Connection, int]]]


class Deliveries:
    """Read and written by the search and by the outbox's process; each method is one transaction.

    A study that is missing is StudyError, other failures are StoreError.
    """

    def __init__(self, read: Opened, write: Opened, change: Opened) -> None:
        """A connection and a study's key, by its name. `write`: in whoever's hands the study is; `change`: under its
        lease, and the study has changed."""
        self._read, self._write, self._change = read, write, change

    def add_artifact(self, study: str, path: str | Path, name: str) -> None:
        """Have a file uploaded to the study's parent run as `name`, once MLflow's server is there."""
        with self._change(study) as (connection, key):
            change_log.keep_artifact(connection, key, name, str(Path(path).absolute()), now_ms())

    def artifacts(self, study: str) -> dict[str, str]:
        """The files of the parent run: name in MLflow to path on this machine."""
        with self._read(study) as (connection, key):
            return change_log.artifact_paths(connection, key)

    def waiting(self, study: str, limit: int = 1000) -> list[Change]:
        """The changes that MLflow has not taken, the oldest first."""
        with self._read(study) as (connection, key):
            return change_log.waiting(connection, key, limit)

    def count(self, study: str) -> int:
        """How many changes wait."""
        with self._read(study) as (connection, key):
            return change_log.count(connection, key)

    def acknowledge(self, study: str, ids: Iterable[int]) -> None:
        """MLflow has taken these changes."""
        with self._write(study) as (connection, key):
            change_log.forget(connection, key, list(ids))

    def queue_all(self, study: str) -> None:
        """Forget MLflow's ids and queue everything again: for another server than before."""
        with self._write(study) as (connection, key):
            change_log.queue_all(connection, key, now_ms())

    def set_run_id(self, study: str, trial: int | None, run_id: str, experiment_id: str, tracking: str) -> None:
        """Which run in MLflow records a trial, or (trial None) the study."""
        with self._write(study) as (connection, key):
            if trial is None:
                values = {"run_id": run_id, "experiment_id": experiment_id, "tracking": tracking}
                connection.execute(update(studies).where(studies.c.id == key).values(values))
            else:
                row = and_(trials.c.study_id == key, trials.c.number == trial)
                connection.execute(update(trials).where(row).values(run_id=run_id))

    def set_error(self, study: str, error: str | None) -> None:
        """Why MLflow can't be reached at present, for displays; None once it can."""
        text = None if error is None else plain(error)
        with self._write(study) as (connection, key):
            connection.execute(update(studies).where(studies.c.id == key).values(delivery_error=text))

    def state(self, study: str) -> tuple[int, str | None]:
        """How many changes wait for MLflow, and why, where something is wrong."""
        with self._read(study) as (connection, key):
            error = connection.scalar(select(studies.c.delivery_error).where(studies.c.id == key))
            return change_log.count(connection, key), error
