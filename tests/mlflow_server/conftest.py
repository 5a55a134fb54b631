"""Real servers as processes, one of a kind for all tests; a real PostgreSQL beneath one of them."""

import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from database_server import postgres_url as postgres_url  # a fixture
from servers import DATABASE_PASSWORD, Running, Starter, private_file


@pytest.fixture(scope="session")
def starter() -> Iterator[Starter]:
    with tempfile.TemporaryDirectory(prefix="servers-") as folder:
        made = Starter(folder=Path(folder))
        try:
            yield made
        finally:
            made.stop()


@pytest.fixture(scope="module")
def open_server(starter: Starter) -> Running:
    """For this machine, without a password; variables of MLflow's in its environment that would open it."""
    return starter(
        "--folder",
        "open",
        MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE="true",
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="true",
        FORWARDED_ALLOW_IPS="*",
    )


@pytest.fixture(scope="module")
def closed_server(starter: Starter) -> Running:
    """For other machines, with a password."""
    password = secrets.token_urlsafe(18)
    file = private_file(starter.folder / "admin-password", password)
    return starter(
        *("--folder", "closed", "--host", "0.0.0.0", "--allowed-hosts", "mlflow.example.com,[fd00::5]:8443"),
        *("--admin", "boss", "--admin-password-file", str(file)),
        login=("boss", password),
    )


@pytest.fixture(autouse=True)
def revived(request: pytest.FixtureRequest) -> None:
    """No test finds its server ended by another one."""
    for name in ("open_server", "closed_server", "postgres_server"):
        if name in request.fixturenames:
            request.getfixturevalue(name).revive()


@pytest.fixture(scope="session")
def locked_database(postgres_url: str) -> str:
    """A database on PostgreSQL that asks its user `keeper` for a password; its URL without it."""
    folder = postgres_url.partition("?host=")[2]
    with psycopg.connect(f"host={folder} user=tester dbname=postgres", autocommit=True) as connection:
        connection.execute(f"CREATE ROLE keeper LOGIN PASSWORD {psycopg.sql.quote(DATABASE_PASSWORD)}")
        connection.execute("CREATE DATABASE runs OWNER keeper")
        rules = Path(connection.execute("SHOW hba_file").fetchone()[0])  # type: ignore[index]  # SHOW gives one row
        rules.write_text("local all keeper scram-sha-256\n" + rules.read_text())
        connection.execute("SELECT pg_reload_conf()")
    return f"postgresql://keeper@/runs?host={folder}"


@pytest.fixture(scope="module")
def postgres_server(starter: Starter, locked_database: str) -> Running:
    """Two workers on PostgreSQL; the database's password in a file, the administrator's in a variable."""
    password = secrets.token_urlsafe(18)
    file = private_file(starter.folder / "database-password", DATABASE_PASSWORD)
    return starter(
        *("--folder", "postgres", "--workers", "2"),
        *("--backend", locked_database, "--backend-password-file", str(file)),
        login=("admin", password),
        MLFLOW_AUTH_ADMIN_PASSWORD=password,
    )
