"""MLflow's tables in a new SQLite file are there whole, or the file isn't."""

import sqlite3
from pathlib import Path

import pytest

from tune_cnn.records.mlflow import tables
from tune_cnn.records.mlflow.client import Server


def test_a_process_that_dies_as_it_makes_the_tables_leaves_no_file_that_is_of_no_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one makes them. (What MLflow leaves half-way it never takes up again: "table … already exists".)"""
    path = tmp_path / "a b%20c.db"
    uri = f"sqlite:///{path}"
    real = tables.databases._upgrade_db

    def die(engine: object) -> None:
        raise KeyboardInterrupt  # its first tables are there

    monkeypatch.setattr(tables.databases, "_upgrade_db", die)
    with pytest.raises(KeyboardInterrupt):
        Server(uri)
    assert not path.exists() and path.with_name(f"{path.name}.new").exists()
    monkeypatch.setattr(tables.databases, "_upgrade_db", real)
    server = Server(uri)
    assert server.client.search_experiments()
    assert not path.with_name(f"{path.name}.new").exists()


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    """Whoever made it."""
    path = tmp_path / "mlflow.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    before = path.read_bytes()
    tables.make_tables(path)
    assert path.read_bytes() == before
