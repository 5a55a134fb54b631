"""A study's key in the tables, by its name."""

from sqlalchemy import Connection, func, select

from tune_cnn.errors import StudyError, nearest
from tune_cnn.records.tables import studies


def study_key(connection: Connection, name: str, *, shown: str, writing: bool = False) -> int:
    """StudyError where there is none; `shown`: how messages name the store.

    Locked for writing (SQLite locks the file instead): a study's changes are committed in their ids' order.
    """
    query = select(studies.c.id).where(studies.c.name == name)
    key = connection.scalar(query.with_for_update() if writing else query)
    if key is None:
        known = connection.scalars(select(studies.c.name).order_by(func.lower(studies.c.name))).all()
        raise StudyError(f"study {name!r}: does not exist in {shown}{nearest(name, known)}")
    return int(key)
