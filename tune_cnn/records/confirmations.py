"""The runs that confirm front candidates, in the study's tables: planned first, ended once and for good."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from sqlalchemy import Connection, Table, and_, delete, insert, select, update

from tune_cnn.front.confirmed import SeedRun
from tune_cnn.records import change_log
from tune_cnn.records.rows import now_ms, plain, seed_run_of, to_json
from tune_cnn.records.tables import confirmations, confirmations_there
from tune_cnn.states import RunState
from tune_cnn.untyped import Untyped

_KEY = ("trial", "epoch", "number")


class Confirmations:
    """A part of the store; writes under its lease, each in one transaction.

    `on`: a type of accelerator that the study was not searched on; None: the runs where it was.
    """

    def __init__(
        self,
        read: Callable[[str], AbstractContextManager[tuple[Connection, int]]],
        change: Callable[[str], AbstractContextManager[tuple[Connection, int]]],
    ) -> None:
        """`read`, `change`: a connection and a study's key, by its name."""
        self._read, self._change = read, change

    def runs(self, study: str, *, on: str | None = None) -> list[SeedRun]:
        """All runs, by candidate and number."""
        with self._read(study) as (connection, key):
            return _stored(connection, key, on)

    def elsewhere(self, study: str) -> dict[str, tuple[SeedRun, ...]]:
        """The runs on types that the study was not searched on, by the type."""
        with self._read(study) as (connection, key):
            here = confirmations_there.c.study_id == key
            types = connection.scalars(select(confirmations_there.c.accelerator).where(here).distinct()).all()
            return {name: tuple(_stored(connection, key, name)) for name in sorted(types)}

    def plan(self, study: str, runs: Iterable[SeedRun], *, on: str | None = None) -> None:
        """Make these the runs to come; those that have ended stay as they are."""
        wanted = {(run.trial, run.epoch, run.number): run for run in runs}
        table, place = _table(on)
        with self._change(study) as (connection, key):
            known = {(run.trial, run.epoch, run.number): run for run in _stored(connection, key, on)}
            gone = [run for at, run in known.items() if run.state is RunState.PLANNED and at not in wanted]
            for run in gone:
                connection.execute(delete(table).where(_row(key, run, on)))
            for run in (run for at, run in wanted.items() if at not in known):
                columns = {name: getattr(run, name) for name in (*_KEY, "seed")} | place
                connection.execute(insert(table).values(study_id=key, **columns, state=RunState.PLANNED, metrics="{}"))

    def end(self, study: str, run: SeedRun, *, on: str | None = None) -> bool:
        """Record how a planned run ended; the first end wins. Returns whether it was still planned."""
        values = {
            "state": run.state,
            "reason": None if run.reason is None else plain(run.reason),
            "metrics": to_json({name: float(value) for name, value in run.metrics.items()}),
            "ended_ms": now_ms(),
        }
        table, _ = _table(on)
        with self._change(study) as (connection, key):
            still = and_(_row(key, run, on), table.c.state == RunState.PLANNED)
            ended = connection.execute(update(table).where(still).values(values)).rowcount > 0
            if ended and on is None:  # a trial's run in MLflow says what holds where it was searched
                change_log.add(connection, key, "confirmed", now_ms(), trial=run.trial)
            return ended


def _table(on: str | None) -> tuple[Table, dict[str, str]]:
    """Where such runs stand, and what names their place there."""
    return (confirmations, {}) if on is None else (confirmations_there, {"accelerator": on})


def _stored(connection: Connection, study_id: int, on: str | None) -> list[SeedRun]:
    table, place = _table(on)
    here = and_(table.c.study_id == study_id, *(table.c[name] == value for name, value in place.items()))
    query = select(table).where(here).order_by(*(table.c[name] for name in _KEY))
    return [seed_run_of(row) for row in connection.execute(query)]


def _row(study_id: int, run: SeedRun, on: str | None) -> Untyped:
    table, place = _table(on)
    columns = {name: getattr(run, name) for name in _KEY} | place
    return and_(table.c.study_id == study_id, *(table.c[name] == value for name, value in columns.items()))
