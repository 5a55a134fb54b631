"""What questions measured beside the epochs of their trials, in the study's tables: kept once and for good."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from sqlalchemy import Connection, insert, select

from tune_cnn.records import change_log
from tune_cnn.records.rows import Measurement, from_json, now_ms, to_json
from tune_cnn.records.tables import measurements


class Measurements:
    """A part of the store; writes under its lease, each in one transaction."""

    def __init__(
        self,
        read: Callable[[str], AbstractContextManager[tuple[Connection, int]]],
        change: Callable[[str], AbstractContextManager[tuple[Connection, int]]],
    ) -> None:
        """`read`, `change`: a connection and a study's key, by its name."""
        self._read, self._change = read, change

    def of(self, study: str) -> list[Measurement]:
        """All of them, by trial, epoch and name."""
        columns = [measurements.c[name] for name in ("trial", "epoch", "name", "content")]
        with self._read(study) as (connection, key):
            query = select(*columns).where(measurements.c.study_id == key).order_by(*columns[:3])
            rows = connection.execute(query).all()
        return [
            Measurement(trial=row.trial, epoch=row.epoch, name=row.name, content=from_json(row.content)) for row in rows
        ]

    def add(self, study: str, found: Iterable[Measurement]) -> None:
        """All of these or none; of those with one trial, epoch and name the first stays."""
        with self._change(study) as (connection, key):
            names = [measurements.c[name] for name in ("trial", "epoch", "name")]
            known = {tuple(row) for row in connection.execute(select(*names).where(measurements.c.study_id == key))}
            new = [one for one in found if (one.trial, one.epoch, one.name) not in known]
            for one in new:
                connection.execute(
                    insert(measurements).values(
                        study_id=key, trial=one.trial, epoch=one.epoch, name=one.name, content=to_json(one.content)
                    )
                )
            if new:
                change_log.add(connection, key, "trial", now_ms(), trial=new[0].trial)  # points.json is written anew
