"""The runs that confirm front candidates, in the study's tables: planned first, ended once and for good."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from sqlalchemy import Connection, and_, delete, insert, select, update

from tune_cnn.front.confirmed import SeedRun
from tune_cnn.records import change_log
from tune_cnn.records.rows import now_ms, plain, seed_run_of, to_json
from tune_cnn.records.tables import confirmations
from tune_cnn.states import RunState
from tune_cnn.untyped import Untyped

_KEY = ("trial", "epoch", "number")


class Confirmations:
    """A part of the store; writes under its lease, each in one transaction."""

    def __init__(
        self,
        read: Callable[[str], AbstractContextManager[tuple[Connection, int]]],
        change: Callable[[str], AbstractContextManager[tuple[Connection, int]]],
    ) -> None:
        """`read`, `change`: a connection and a study's key, by its name."""
        self._read, self._change = read, change

    def runs(self, study: str) -> list[SeedRun]:
        """All runs, by candidate and number."""
        with self._read(study) as (connection, key):
            return _stored(connection, key)

    def plan(self, study: str, runs: Iterable[SeedRun]) -> None:
        """Make these the runs to come; those that have ended stay as they are."""
        wanted = {(run.trial, run.epoch, run.number): run for run in runs}
        with self._change(study) as (connection, key):
            known = {(run.trial, run.epoch, run.number): run for run in _stored(connection, key)}
            gone = [run for at, run in known.items() if run.state is RunState.PLANNED and at not in wanted]
            for run in gone:
                connection.execute(delete(confirmations).where(_row(key, run)))
            for run in (run for at, run in wanted.items() if at not in known):
                columns = {name: getattr(run, name) for name in (*_KEY, "seed")}
                connection.execute(
                    insert(confirmations).values(study_id=key, **columns, state=RunState.PLANNED, metrics="{}")
                )

    def end(self, study: str, run: SeedRun) -> bool:
        """Record how a planned run ended; the first end wins. Returns whether it was still planned."""
        values = {
            "state": run.state,
            "reason": None if run.reason is None else plain(run.reason),
            "metrics": to_json({name: float(value) for name, value in run.metrics.items()}),
            "ended_ms": now_ms(),
        }
        with self._change(study) as (connection, key):
            still = and_(_row(key, run), confirmations.c.state == RunState.PLANNED)
            ended = connection.execute(update(confirmations).where(still).values(values)).rowcount > 0
            if ended:
                change_log.add(connection, key, "confirmed", now_ms(), trial=run.trial)
            return ended


def _stored(connection: Connection, study_id: int) -> list[SeedRun]:
    columns = [confirmations.c[name] for name in _KEY]
    query = select(confirmations).where(confirmations.c.study_id == study_id).order_by(*columns)
    return [seed_run_of(row) for row in connection.execute(query)]


def _row(study_id: int, run: SeedRun) -> Untyped:
    return and_(confirmations.c.study_id == study_id, *(confirmations.c[name] == getattr(run, name) for name in _KEY))
