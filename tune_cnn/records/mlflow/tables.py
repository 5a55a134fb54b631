"""MLflow's tables in a new SQLite file."""

import os
from contextlib import suppress
from pathlib import Path

import sqlalchemy
from mlflow.store.db import utils as databases


def make_tables(path: Path) -> None:
    """Nothing where the file is there; else it appears with all its tables, or not at all.

    MLflow makes them by some fifty migrations, which take seconds, each of several statements that stand for
    themselves: a file whose process was killed meanwhile can't be used any more. The caller holds the lock of this
    path, so a file that is left from such an end is nobody's.
    """
    if path.exists():
        return
    new = path.with_name(f"{path.name}.new")
    for left in (new, new.with_name(f"{new.name}-journal")):
        left.unlink(missing_ok=True)
    engine = sqlalchemy.create_engine(sqlalchemy.URL.create("sqlite", database=str(new)))
    try:
        databases._initialize_tables(engine)
    finally:
        engine.dispose()
    with suppress(FileExistsError):  # somebody else's MLflow has made it: that one counts
        os.link(new, path)
    new.unlink()
