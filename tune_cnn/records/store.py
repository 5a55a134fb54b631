"""The study's own tables are the truth: a result counts once it is here."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, true, update
from sqlalchemy.exc import IntegrityError

from tune_cnn.errors import StudyError
from tune_cnn.records import change_log
from tune_cnn.records.bulk import uncollected
from tune_cnn.records.confirmations import Confirmations
from tune_cnn.records.costs import Costs
from tune_cnn.records.database import Database
from tune_cnn.records.deliveries import Deliveries
from tune_cnn.records.lease import Holder, Lease, Role, Tell
from tune_cnn.records.measurements import Measurements
from tune_cnn.records.nodes import NodeEvents
from tune_cnn.records.rows import (
    ChangeKind,
    PointRecord,
    StudyRecord,
    TrialRecord,
    now_ms,
    plain,
    points_of,
    study_of,
    to_json,
    trial_of,
)
from tune_cnn.records.study_key import study_key
from tune_cnn.records.tables import points, studies, trials
from tune_cnn.states import StudyState, TrialState
from tune_cnn.untyped import Plain


class Store:
    """Studies, trials and epoch points; each method is one transaction, on the disk when it returns.

    Threads may share a store; processes open one each. Failures are StoreError; a study that is missing, taken or
    there already is StudyError.
    """

    def __init__(self, url_or_home: str | Path, *, create: bool = True) -> None:
        """A folder means <folder>/studies.db, anything with :// is a SQLAlchemy URL (SQLite, PostgreSQL).

        Without `create`, a folder that holds no store is a StudyError rather than made.
        """
        self._database = Database(url_or_home, create=create)
        self.costs = Costs(self._database)
        self.confirmations = Confirmations(self._look, self._change)
        self.nodes = NodeEvents(self._look, self._change)
        self.measurements = Measurements(self._look, self._change)
        self.deliveries = Deliveries(self._look, self._write, self._change)
        self._leases: dict[str, Lease] = {}

    def __repr__(self) -> str:
        return f"Store({self._database.shown})"

    @property
    def url(self) -> str:
        """What opens this store elsewhere; may hold a password, so it goes into no argv, log or message."""
        return self._database.url

    @property
    def shown(self) -> str:
        """How messages name this store."""
        return self._database.shown

    def check_whole(self) -> None:
        """StoreError where the file is damaged, though what was read so far doesn't show it: asked before a search."""
        self._database.check_whole()

    def close(self) -> None:
        self._database.close()

    # Studies

    def create_study(self, name: str, spec: Mapping[str, Plain], *, info: Mapping[str, Plain]) -> None:
        stamp_ms = now_ms()
        with self._database.write() as connection:
            if connection.scalar(select(studies.c.id).where(studies.c.name == name)) is not None:
                raise StudyError(f"study {name!r}: exists already in {self.shown}; resume it, or choose another name")
            key = connection.execute(
                insert(studies).values(
                    name=name,
                    uid=uuid.uuid4().hex,
                    spec=to_json(spec),
                    info=to_json(info),
                    state=StudyState.RUNNING,
                    searched_s=0.0,
                    created_ms=stamp_ms,
                    started_ms=stamp_ms,
                    updated_ms=stamp_ms,
                )
            ).inserted_primary_key
            assert key is not None
            change_log.add(connection, key[0], "study", stamp_ms)

    def study(self, name: str) -> StudyRecord | None:
        with self._database.read() as connection:
            row = connection.execute(select(studies).where(studies.c.name == name)).first()
            return None if row is None else study_of(row)

    def studies(self) -> list[StudyRecord]:
        """All studies, the last changed first."""
        with self._database.read() as connection:
            rows = connection.execute(select(studies).order_by(studies.c.updated_ms.desc(), studies.c.id)).all()
            return [study_of(row) for row in rows]

    def update_study(
        self,
        name: str,
        *,
        spec: Mapping[str, Plain] | None = None,
        state: StudyState | None = None,
        reference: Mapping[str, float] | None = None,
        info: Mapping[str, Plain] | None = None,
        searched_s: float | None = None,
    ) -> None:
        """Change what is given. StudyState.RUNNING marks a new start."""
        values: dict[str, Plain] = {
            "spec": None if spec is None else to_json(spec),
            "state": state,
            "reference": None if reference is None else to_json(reference),
            "info": None if info is None else to_json(info),
            "searched_s": searched_s,
            "started_ms": now_ms() if state is StudyState.RUNNING else None,
        }
        given = {column: value for column, value in values.items() if value is not None}
        kind: ChangeKind | None = "study" if given.keys() - {"searched_s"} else None  # MLflow has clocks of its own
        with self._change(name, kind) as (connection, key):
            if given:
                connection.execute(update(studies).where(studies.c.id == key).values(given))

    def delete_study(self, name: str) -> None:
        """Forget a study, its trials and points; StudyError while a search holds it."""
        with self.lease(name), self._database.write() as connection:
            connection.execute(delete(studies).where(studies.c.name == name))

    @contextmanager
    def lease(
        self, name: str, *, role: Role = "search", ttl_s: float = 60, waiting: Tell | None = None
    ) -> Iterator[Lease]:
        """Hold a study alone; StudyError where another process does. A thread keeps the lease; waiting: see acquire.

        Meanwhile each write to a study searched through this store checks that the lease is still ours, so that a
        search that slept past it can't write into its successor's study.
        """
        with self._look(name) as (_, key):
            lease = Lease(self._database, key, name, role=role, ttl_s=ttl_s)
        lease.acquire(waiting)
        if role == "search":
            self._leases[name] = lease
        lease.keep()
        try:
            yield lease
        finally:
            if role == "search":
                del self._leases[name]
            lease.release()

    def in_work(self, name: str) -> bool:
        """Whether a process holds the study at this moment, to search or to confirm."""
        with self._look(name) as (connection, key):
            return Lease(self._database, key, name, role="search", ttl_s=60).is_held(connection)

    def delivered_by(self, name: str) -> Holder | None:
        """The outbox that delivers the study, or did and has not said that it ended."""
        with self._look(name) as (connection, key):
            return Lease(self._database, key, name, role="outbox", ttl_s=60).holder(connection)

    # Trials

    def add_trial(
        self,
        study: str,
        number: int,
        params: Mapping[str, Plain],
        *,
        seed: int,
        origin: str = "sampler",
        extra: Mapping[str, Plain] | None = None,
    ) -> None:
        """A new trial, running from now on."""
        with self._change(study, "trial", trial=number) as (connection, key):
            try:
                connection.execute(
                    insert(trials).values(
                        study_id=key,
                        number=number,
                        params=to_json(params),
                        seed=seed,
                        origin=plain(origin),
                        state=TrialState.RUNNING,
                        started_ms=now_ms(),
                        attempts=1,
                        extra=to_json(extra or {}),
                    )
                )
            except IntegrityError:
                raise StudyError(f"study {study!r}: trial {number} exists already; two searches at once?") from None

    def trials(self, study: str, *, state: TrialState | None = None) -> list[TrialRecord]:
        """All trials by number; `state`: those in that state."""
        with self._database.read() as connection:
            mine = trials.c.study_id == self._key(connection, study)
            query = select(trials).where(mine, true() if state is None else trials.c.state == state)
            rows = connection.execute(query.order_by(trials.c.number)).all()
            return [trial_of(row) for row in rows]

    def end_trial(self, study: str, number: int, state: TrialState, reason: str | None = None) -> bool:
        """Close a running trial; the first end wins. Returns whether it was still running."""
        values = {"state": state, "reason": None if reason is None else plain(reason), "ended_ms": now_ms()}
        return self._move_trial(study, number, trials.c.state == TrialState.RUNNING, values)

    def resume_trial(self, study: str, number: int) -> None:
        """A trial is trained again, from its checkpoint: running, one attempt more."""
        values = {"state": TrialState.RUNNING, "reason": None, "ended_ms": None, "attempts": trials.c.attempts + 1}
        self._move_trial(study, number, trials.c.number == number, values)

    def reopen_trial(self, study: str, number: int) -> None:
        """A trial that failed is unfinished again: the next search trains it."""
        values = {"state": TrialState.RUNNING, "reason": None, "ended_ms": None}
        self._move_trial(study, number, trials.c.state == TrialState.FAILED, values)

    def _move_trial(self, study: str, number: int, where: ColumnElement[bool], values: Mapping[str, Plain]) -> bool:
        with self._change(study, "trial", trial=number) as (connection, key):
            row = and_(trials.c.study_id == key, trials.c.number == number)
            if connection.scalar(select(trials.c.number).where(row)) is None:
                raise StudyError(f"study {study!r}: has no trial {number}")
            return connection.execute(update(trials).where(row, where).values(values)).rowcount > 0

    # Epoch points

    def add_point(
        self, study: str, trial: int, epoch: int, metrics: Mapping[str, float], *, checkpoint: str | None = None
    ) -> bool:
        """Commit what a trial is worth after an epoch; the first for an epoch wins. Returns whether it was new."""
        text = to_json({name: float(value) for name, value in metrics.items()})
        there = and_(points.c.trial == trial, points.c.epoch == epoch)
        with self._change(study) as (connection, key):
            if connection.scalar(select(points.c.id).where(points.c.study_id == key, there)) is not None:
                return False
            stamp_ms = now_ms()
            connection.execute(
                insert(points).values(
                    study_id=key, trial=trial, epoch=epoch, metrics=text, checkpoint=checkpoint, reported_ms=stamp_ms
                )
            )
            change_log.add(connection, key, "point", stamp_ms, trial=trial, epoch=epoch)
            return True

    def points(self, study: str, *, after_id: int | None = None) -> list[PointRecord]:
        """The epoch points in the order of their commits; `after_id`: those later than that point's id."""
        with self._database.read() as connection:
            key = self._key(connection, study)
            columns = [points.c[name] for name in ("trial", "epoch", "metrics", "id", "checkpoint", "reported_ms")]
            query = select(*columns).where(points.c.study_id == key, points.c.id > (after_id or 0))
            with uncollected():
                rows = connection.execute(query.order_by(points.c.id)).all()
                return points_of(rows)

    def checkpoint(self, study: str, trial: int) -> str | None:
        """The last checkpoint that a point of this trial names."""
        with self._database.read() as connection:
            mine = and_(points.c.study_id == self._key(connection, study), points.c.trial == trial)
            query = select(points.c.checkpoint).where(mine, points.c.checkpoint.is_not(None))
            return connection.scalar(query.order_by(points.c.epoch.desc()).limit(1))

    @contextmanager
    def _look(self, study: str) -> Iterator[tuple[Connection, int]]:
        with self._database.read() as connection:
            yield connection, self._key(connection, study)

    @contextmanager
    def _write(self, study: str) -> Iterator[tuple[Connection, int]]:
        """One transaction of a process that needs no lease: the outbox's."""
        with self._database.write() as connection:
            yield connection, self._key(connection, study)

    @contextmanager
    def _change(
        self, study: str, kind: ChangeKind | None = None, *, trial: int | None = None
    ) -> Iterator[tuple[Connection, int]]:
        """One transaction on a study, under its lease where this store holds it; logs a change of `kind` for MLflow."""
        with self._database.write() as connection:
            key = self._key(connection, study, writing=True)
            if study in self._leases:
                self._leases[study].check(connection)
            yield connection, key
            stamp_ms = now_ms()
            connection.execute(update(studies).where(studies.c.id == key).values(updated_ms=stamp_ms))
            if kind is not None:
                change_log.add(connection, key, kind, stamp_ms, trial=trial)

    def _key(self, connection: Connection, name: str, *, writing: bool = False) -> int:
        return study_key(connection, name, shown=self.shown, writing=writing)
