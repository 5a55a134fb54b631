"""The server's tables: made where there are none, upgraded where they are older, refused where they are newer."""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import mlflow
import sqlalchemy
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from mlflow.exceptions import MlflowException
from mlflow.server.auth.db import utils as auth_tables
from mlflow.store.db import utils as tracking_tables
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, SQLAlchemyError

from mlflow_server.errors import ServerError, WrongInput

UPGRADE_LOCK = 0x6D6C666C6F77  # "mlflow": the key of PostgreSQL's lock while tables are made or upgraded


@dataclass(frozen=True, kw_only=True)
class Tables:
    """One of MLflow's two sets of tables; both may lie in one database."""

    what: str
    version_table: str
    first: str  # a table that each version of the set has had
    config: Callable[[str], Config]
    bring_up: Callable[[Engine], None]


def _make_or_upgrade(engine: Engine) -> None:
    if "experiments" in sqlalchemy.inspect(engine).get_table_names():
        tracking_tables._upgrade_db(engine)
    else:
        tracking_tables._initialize_tables(engine)


TRACKING = Tables(
    what="runs",
    version_table="alembic_version",
    first="experiments",
    config=tracking_tables._get_alembic_config,
    bring_up=_make_or_upgrade,
)
USERS = Tables(
    what="users",
    version_table="alembic_version_auth",
    first="users",
    config=auth_tables._get_alembic_config,
    bring_up=lambda engine: auth_tables.migrate_if_needed(engine, "head"),
)


def bring_up_to_date(url: str, shown: str, tables: Tables, report: Callable[[str], None]) -> None:
    """Afterwards the tables are those of this MLflow. Raises WrongInput for newer or foreign ones, ServerError for a
    database that doesn't answer."""
    file = _sqlite_file(url)
    if file is not None:
        with _sorted(shown, tables), suppress(OSError):  # what the place refuses, the next line says
            _make_whole(file, tables)
        _prepare_sqlite(file)
    engine = _engine(url)
    try:
        with _sorted(shown, tables), _one_at_a_time(engine, shown):
            found = _revision(engine, tables, shown)
            script = ScriptDirectory.from_config(tables.config(""))
            newest = script.get_current_head()
            if found is not None and found not in {step.revision for step in script.walk_revisions()}:
                raise WrongInput(
                    f"{shown}: its tables of {tables.what} are of a newer MLflow (version {found}) than this one "
                    f"({mlflow.__version__} knows up to {newest}); upgrade MLflow here, or give another --backend"
                )
            if found == newest:
                return
            if found is not None:
                report(f"upgrading the tables of {tables.what} in {shown} from version {found} to {newest}")
                _back_up(file, found, report)
            tables.bring_up(engine)
    finally:
        engine.dispose()


@contextmanager
def _sorted(shown: str, tables: Tables) -> Iterator[None]:
    try:
        yield
    except (DBAPIError, SQLAlchemyError, sqlite3.Error, MlflowException) as error:
        raise ServerError(
            f"{shown}: its tables of {tables.what} can't be brought up to date ({_first(error)})"
        ) from None


def has_tables(url: str, tables: Tables) -> bool:
    """Was a set of tables ever made there? A file that isn't there is not made for the question."""
    file = _sqlite_file(url)
    if file is not None and not file.exists():
        return False
    engine = _engine(url)
    try:
        with engine.connect() as connection:
            return tables.version_table in sqlalchemy.inspect(connection).get_table_names()
    finally:
        engine.dispose()


def _engine(url: str) -> Engine:
    try:
        engine: Engine = tracking_tables.create_sqlalchemy_engine(url)
        return engine
    except ModuleNotFoundError as error:
        raise WrongInput(
            f"--backend: the driver {error.name} for PostgreSQL is not installed; uv pip install 'psycopg[binary]'"
        ) from None
    except ImportError as error:  # psycopg without the C library libpq
        raise WrongInput(
            f"--backend: PostgreSQL's driver can't be loaded ({_first(error)}); uv pip install 'psycopg[binary]'"
        ) from None
    except (NoSuchModuleError, SQLAlchemyError, ValueError) as error:
        raise WrongInput(f"--backend: no such database ({_first(error)})") from None


@contextmanager
def _one_at_a_time(engine: Engine, shown: str) -> Iterator[None]:
    """Two servers that start together on one PostgreSQL database: one makes the tables, the other waits."""
    try:
        connection = engine.connect()
    except DBAPIError as error:
        raise _no_answer(error, shown) from None
    with connection:
        if engine.dialect.name != "postgresql":
            yield
            return
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": UPGRADE_LOCK})
        try:
            yield
        finally:
            connection.execute(sqlalchemy.text("SELECT pg_advisory_unlock(:key)"), {"key": UPGRADE_LOCK})


def _no_answer(error: DBAPIError, shown: str) -> ServerError:
    """SQLite: no database in the file; PostgreSQL: away, or it doesn't let us in."""
    text = _first(error)
    if "password" in text or "authentication" in text:
        return WrongInput(f"{shown}: the database doesn't let us in ({text}); check user and --backend-password-file")
    if "does not exist" in text:
        return WrongInput(f"{shown}: {text}; create it first")
    return ServerError(f"{shown}: the database doesn't answer ({text}); is it running and reachable from here?")


def _revision(engine: Engine, tables: Tables, shown: str) -> str | None:
    with engine.connect() as connection:
        found = _stamped(connection, tables)
        if found is None and tables.what == "runs" and tables.first in sqlalchemy.inspect(connection).get_table_names():
            raise WrongInput(
                f"{shown}: has a table {tables.first} that isn't MLflow's (there is no {tables.version_table}); "
                "give the server a database of its own"
            )
    return found


def _stamped(connection: Connection, tables: Tables) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": tables.version_table}).get_current_revision()


def _sqlite_file(url: str) -> Path | None:
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def _make_whole(file: Path, tables: Tables) -> None:
    """A new file appears with all its tables: MLflow makes them by some fifty migrations, which take seconds, and what
    a killed server has left half-way is of no use for ever. Of two servers one makes it, the other waits."""
    if file.exists() or not file.parent.is_dir():
        return
    new = file.with_name(f"{file.name}.new")
    with new.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if file.exists():
            return
        held.truncate(0)
        for left in ("-wal", "-shm", "-journal"):
            new.with_name(f"{new.name}{left}").unlink(missing_ok=True)
        try:
            _prepare_sqlite(new)
        except WrongInput:  # said of the file itself, next
            new.unlink()
            return
        engine = _engine(f"sqlite:///{new}")
        try:
            tables.bring_up(engine)
        finally:
            engine.dispose()
        with suppress(FileExistsError):  # somebody else's MLflow has made it: that one counts
            os.link(new, file)
        new.unlink()


def _prepare_sqlite(file: Path) -> None:
    """Write-ahead logging, so that readers and the one writer don't wait for each other; it stays with the file.

    `synchronous` is left at FULL, SQLite's default: what a client was told is stored survives a power cut.
    """
    if not file.parent.is_dir():
        raise WrongInput(f"--backend {file}: the folder {file.parent} doesn't exist; make it first")
    try:
        with closing(sqlite3.connect(file, timeout=20)) as connection:
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
    except sqlite3.DatabaseError as error:
        raise WrongInput(f"--backend {file}: is no SQLite database that can be written ({error})") from None
    if mode != "wal":
        raise WrongInput(
            f"--backend {file}: this file system can't carry SQLite's write-ahead log; put the file on a local disk"
        )


def _back_up(file: Path | None, found: str, report: Callable[[str], None]) -> None:
    """SQLite's file is copied before an upgrade. PostgreSQL upgrades in one transaction, and has backups of its own."""
    if file is None:
        return
    copy = file.with_name(f"{file.name}.{found}.bak")
    with closing(sqlite3.connect(file)) as old, closing(sqlite3.connect(copy)) as new:
        old.backup(new)
    report(f"kept the older database as {copy}")


def _first(error: BaseException) -> str:
    """What a library says, in one line: of a database's error the driver's words, without SQL and parameters."""
    said = str(error.orig if isinstance(error, DBAPIError) and error.orig is not None else error)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
