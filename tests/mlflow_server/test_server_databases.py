"""Tables are made, upgraded when they are older, refused when they are newer or somebody else's."""

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
from alembic import command
from mlflow.store.db import utils as tracking_tables
from mlflow.store.tracking.dbmodels.initial_models import Base as FirstTables

from mlflow_server import databases
from mlflow_server.databases import TRACKING, USERS, bring_up_to_date, has_tables
from mlflow_server.errors import ServerError, WrongInput
from mlflow_server.stores import try_artifacts


def up(file, tables=TRACKING):
    said = []
    bring_up_to_date(f"sqlite:///{file}", f"sqlite:///{file}", tables, said.append)
    return said


def ask(file, sql, *values):
    with closing(sqlite3.connect(file)) as connection, connection:
        return connection.execute(sql, values).fetchall()


def older(file, *, steps):
    """Tables of runs as an MLflow made them that is so many versions older."""
    engine = sqlalchemy.create_engine(f"sqlite:///{file}")
    FirstTables.metadata.create_all(engine)
    config = tracking_tables._get_alembic_config(f"sqlite:///{file}")
    command.upgrade(config, f"head-{steps}")
    engine.dispose()
    return ask(file, "SELECT version_num FROM alembic_version")[0][0]


def test_tables_are_made_once_and_then_left_alone(tmp_path):
    """Runs and users, each in a file of its own; write-ahead logging is on and stays."""
    assert up(tmp_path / "mlflow.db") == [] == up(tmp_path / "mlflow.db")
    assert up(tmp_path / "users.db", USERS) == [] == up(tmp_path / "users.db", USERS)
    for file in ("mlflow.db", "users.db"):
        assert ask(tmp_path / file, "PRAGMA journal_mode") == [("wal",)]
    newest = tracking_tables._get_latest_schema_revision()
    assert ask(tmp_path / "mlflow.db", "SELECT version_num FROM alembic_version") == [(newest,)]


def test_older_tables_are_upgraded_said_and_kept(tmp_path):
    """With what they hold; the older file stays beside."""
    file = tmp_path / "mlflow.db"
    was = older(file, steps=4)
    ask(file, "INSERT INTO experiments (experiment_id, name, lifecycle_stage) VALUES (7, 'before', 'active')")
    said = up(file)
    newest = tracking_tables._get_latest_schema_revision()
    assert f"from version {was} to {newest}" in said[0] and "runs" in said[0]
    assert ask(file, "SELECT name FROM experiments WHERE experiment_id = 7") == [("before",)]
    assert ask(tmp_path / f"mlflow.db.{was}.bak", "SELECT version_num FROM alembic_version") == [(was,)]


@pytest.mark.parametrize("tables", [TRACKING, USERS], ids=["runs", "users"])
def test_newer_tables_are_refused_untouched(tmp_path, tables):
    """With both versions, and what to do; nothing is changed."""
    file = tmp_path / "db"
    up(file, tables)
    ask(file, f"UPDATE {tables.version_table} SET version_num = 'ffffffffffff'")
    before = ask(file, "SELECT name, sql FROM sqlite_master ORDER BY name")
    with pytest.raises(WrongInput, match=r"newer MLflow.*ffffffffffff.*upgrade MLflow"):
        up(file, tables)
    assert ask(file, "SELECT name, sql FROM sqlite_master ORDER BY name") == before


def test_a_database_of_another_program_is_refused(tmp_path):
    """One that has a table of MLflow's name and isn't MLflow's."""
    file = tmp_path / "db"
    ask(file, "CREATE TABLE experiments (mine TEXT)")
    with pytest.raises(WrongInput, match="isn't MLflow's"):
        up(file)


def test_what_is_no_sqlite_file_is_refused(tmp_path):
    """A text, a folder, a folder that isn't there."""
    (tmp_path / "text").write_text("not a database at all, and longer than a header" * 10)
    (tmp_path / "folder").mkdir()
    for file in ("text", "folder", "absent/db"):
        with pytest.raises(WrongInput, match=f"--backend {tmp_path / file}"):
            up(tmp_path / file)


def test_a_missing_driver_is_said(monkeypatch):
    """By its name, with the command that installs it."""

    def create(url):
        raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")

    monkeypatch.setattr(tracking_tables, "create_sqlalchemy_engine", create)
    with pytest.raises(WrongInput, match=r"driver psycopg .*pip install 'psycopg\[binary\]'"):
        databases.has_tables("postgresql+psycopg://u@h/d", USERS)


def test_a_database_that_is_away_is_said():
    """Port 1 of this machine answers nobody; the password isn't in the message."""
    url = "postgresql+psycopg://u:s3cr3t@127.0.0.1:1/d?connect_timeout=5"
    with pytest.raises(ServerError, match="doesn't answer") as caught:
        bring_up_to_date(url, "postgresql://u:***@127.0.0.1:1/d", TRACKING, print)
    assert caught.value.exit_code == 1 and "s3cr3t" not in str(caught.value)


def test_postgres_says_what_it_refuses(locked_database):
    """A wrong password, and a database that isn't there: wrong input both."""
    url = locked_database.replace("postgresql://keeper@", "postgresql+psycopg://keeper:wrong@")
    with pytest.raises(WrongInput, match="doesn't let us in"):
        bring_up_to_date(url, locked_database, TRACKING, print)
    absent = locked_database.replace("postgresql://keeper@/runs", "postgresql+psycopg://tester@/absent")
    with pytest.raises(WrongInput, match="create it first"):
        bring_up_to_date(absent, locked_database, TRACKING, print)


def test_on_postgres_runs_and_users_share_a_database(postgres_url):
    """Made in turn; older ones are upgraded, newer ones refused; another program's tables beside them don't matter."""
    folder = postgres_url.partition("?host=")[2]
    with psycopg.connect(f"host={folder} user=tester dbname=postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE shared")
    url = f"postgresql+psycopg://tester@/shared?host={folder}"
    with psycopg.connect(f"host={folder} user=tester dbname=shared", autocommit=True) as connection:
        connection.execute("CREATE TABLE studies (name TEXT)")
        assert not has_tables(url, USERS)
        for tables in (TRACKING, USERS):
            bring_up_to_date(url, url, tables, print)
            bring_up_to_date(url, url, tables, pytest.fail)
        assert has_tables(url, USERS)
        connection.execute("UPDATE alembic_version_auth SET version_num = 'ffffffffffff'")
        with pytest.raises(WrongInput, match="newer MLflow"):
            bring_up_to_date(url, url, USERS, print)


def test_an_artifact_store_that_cannot_be_used_is_said(tmp_path):
    """One below a file, one of an unknown kind; one that can be used is left as it was."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ServerError, match=f"--artifacts {tmp_path / 'file'}/below: can't be"):
        try_artifacts(str(tmp_path / "file" / "below"))
    with pytest.raises(ServerError, match="--artifacts nosuch://bucket"):
        try_artifacts("nosuch://bucket")
    try_artifacts(str(tmp_path / "fine"))
    assert list((tmp_path / "fine").iterdir()) == []


def test_a_server_that_dies_as_it_makes_its_tables_leaves_no_file_that_is_of_no_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next start makes them whole; what MLflow leaves half-way it never takes up again."""
    file, said = tmp_path / "runs.db", []

    def die(engine: object) -> None:
        raise KeyboardInterrupt  # its first tables are there

    with monkeypatch.context() as patch:
        patch.setattr(tracking_tables, "_upgrade_db", die)
        with pytest.raises(KeyboardInterrupt):
            bring_up_to_date(f"sqlite:///{file}", str(file), TRACKING, said.append)
    assert not file.exists() and file.with_name("runs.db.new").stat().st_size
    bring_up_to_date(f"sqlite:///{file}", str(file), TRACKING, said.append)
    assert has_tables(f"sqlite:///{file}", TRACKING) and not said
    assert [path.name for path in tmp_path.iterdir()] == ["runs.db"]
