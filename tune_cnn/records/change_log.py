"""The change log: what MLflow has yet to be sent, written in the transaction of the thing itself."""

from sqlalchemy import BigInteger, Connection, and_, delete, func, insert, literal, select, update

from tune_cnn.records.rows import Change, ChangeKind, change_of
from tune_cnn.records.tables import artifacts, changes, confirmations, points, studies, trials

CHUNK = 500  # ids in one statement; SQLite takes 999 parameters in its oldest versions


def add(connection: Connection, study_id: int, kind: ChangeKind, now_ms: int, **what: object) -> None:
    """`what`: trial, epoch, name of an artifact."""
    connection.execute(insert(changes).values(study_id=study_id, kind=kind, made_ms=now_ms, **what))


def waiting(connection: Connection, study_id: int, limit: int) -> list[Change]:
    query = select(changes).where(changes.c.study_id == study_id).order_by(changes.c.id).limit(limit)
    return [change_of(row) for row in connection.execute(query)]


def count(connection: Connection, study_id: int) -> int:
    query = select(func.count()).select_from(changes).where(changes.c.study_id == study_id)
    return int(connection.scalar(query) or 0)


def forget(connection: Connection, study_id: int, ids: list[int]) -> None:
    for start in range(0, len(ids), CHUNK):
        some = changes.c.id.in_(ids[start : start + CHUNK])
        connection.execute(delete(changes).where(changes.c.study_id == study_id, some))


def keep_artifact(connection: Connection, study_id: int, name: str, path: str, now_ms: int) -> None:
    """The file behind an artifact's name, the newest counts, and a change that MLflow has to get."""
    here = and_(artifacts.c.study_id == study_id, artifacts.c.name == name)
    connection.execute(delete(artifacts).where(here))
    connection.execute(insert(artifacts).values(study_id=study_id, name=name, path=path))
    add(connection, study_id, "artifact", now_ms, name=name)


def artifact_paths(connection: Connection, study_id: int) -> dict[str, str]:
    rows = connection.execute(select(artifacts.c.name, artifacts.c.path).where(artifacts.c.study_id == study_id))
    return {row.name: row.path for row in rows}


def queue_all(connection: Connection, study_id: int, now_ms: int) -> None:
    """Everything again, to runs yet to be found or made."""
    ids = {"experiment_id": None, "run_id": None, "tracking": None}
    connection.execute(update(studies).where(studies.c.id == study_id).values(ids))
    connection.execute(update(trials).where(trials.c.study_id == study_id).values(run_id=None))
    connection.execute(delete(changes).where(changes.c.study_id == study_id))
    add(connection, study_id, "study", now_ms)
    for kind, table, what in (
        ("trial", trials, {"trial": trials.c.number}),
        ("point", points, {"trial": points.c.trial, "epoch": points.c.epoch}),
        ("confirmed", confirmations, {"trial": confirmations.c.trial}),
        ("artifact", artifacts, {"name": artifacts.c.name}),
    ):
        every = select(literal(study_id), literal(kind), literal(now_ms, BigInteger), *what.values())
        mine = every.where(table.c.study_id == study_id).order_by(*what.values())
        connection.execute(insert(changes).from_select(["study_id", "kind", "made_ms", *what], mine))
