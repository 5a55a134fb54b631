"""What happened to the nodes of a study's cluster, in its tables."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy import Connection, insert, select

from tune_cnn.records.rows import NodeRecord, from_ms, plain, to_ms
from tune_cnn.records.tables import node_events

_COLUMNS = [node_events.c[name] for name in ("at_ms", "node", "host", "happened", "trial", "why", "ratio")]


class NodeEvents:
    """A part of the store; writes under its lease, each in one transaction."""

    def __init__(
        self,
        read: Callable[[str], AbstractContextManager[tuple[Connection, int]]],
        change: Callable[[str], AbstractContextManager[tuple[Connection, int]]],
    ) -> None:
        """`read`, `change`: a connection and a study's key, by its name."""
        self._read, self._change = read, change

    def of(self, study: str) -> list[NodeRecord]:
        """All of them, in their order."""
        with self._read(study) as (connection, key):
            query = select(*_COLUMNS).where(node_events.c.study_id == key).order_by(node_events.c.id)
            rows = connection.execute(query).all()
        return [
            NodeRecord(
                at=from_ms(row.at_ms),
                **{name: getattr(row, name) for name in ("node", "host", "happened", "trial", "why", "ratio")},
            )
            for row in rows
        ]

    def add(self, study: str, event: NodeRecord) -> None:
        with self._change(study) as (connection, key):
            connection.execute(
                insert(node_events).values(
                    study_id=key,
                    at_ms=to_ms(event.at),
                    node=event.node,
                    host=plain(event.host),
                    happened=event.happened,
                    trial=event.trial,
                    why=None if event.why is None else plain(event.why),
                    ratio=event.ratio,
                )
            )
