"""Stores to try: a SQLite file, and a PostgreSQL server of the test's own where the machine has one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from database_server import postgres_url as postgres_url  # a fixture

from tune_cnn.records.store import Store


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store on each kind of database."""
    store = Store(tmp_path if request.param == "sqlite" else request.getfixturevalue("postgres_url"))
    for left in store.studies():
        store.delete_study(left.name)
    yield store
    store.close()
