"""Opening the study's database, SQLite or PostgreSQL, and saying in one sentence what is wrong with it."""

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, insert, inspect, make_url, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from tune_cnn.errors import InputError, StoreError, StoreFull, StudyError
from tune_cnn.records import tables
from tune_cnn.records.bulk import Unreadable
from tune_cnn.records.file_system import network_file_system
from tune_cnn.records.rows import now_ms
from tune_cnn.text import printable

FILE = "studies.db"
POSTGRESQL_DISK_FULL = "53100"  # its SQLSTATE
BUSY_TIMEOUT_S = 30  # a commit takes milliseconds; this long means that somebody holds the file
SILENT_S = 60  # within a transaction, of which ours make milliseconds: that machine is gone, and others want its locks


class Database:
    """An engine whose every failure is a StoreError."""

    def __init__(self, url_or_home: str | Path, *, create: bool = True) -> None:
        self._url = store_url(url_or_home)
        self.shown = shown(self._url)
        with self.edge():
            if self._url.get_backend_name() == "sqlite":
                _prepare_folder(self._url, create=create)
            self._engine = _engine(self._url)
            self._writing = self._engine.execution_options(tune_cnn_write=True)
            self._ready()

    @property
    def url(self) -> str:
        """With its password: never to be shown, logged or put into argv."""
        return self._url.render_as_string(hide_password=False)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self.edge(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, on the disk when this ends."""
        with self.edge(), self._writing.begin() as connection:
            yield connection

    def now_ms(self, connection: Connection) -> int:
        """The clock that leases go by: the database's own, so that two machines' clocks need not agree."""
        if self._engine.dialect.name == "sqlite":  # in this process, on this machine
            return now_ms()
        return int(connection.scalar(select(func.extract("epoch", func.clock_timestamp()) * 1000)) or 0)

    def check_whole(self) -> None:
        """StoreError where SQLite's file is damaged, though nothing that was read so far has shown it.

        A page that was torn in an index or in rows that are not looked at would be noticed late, after more has been
        written, or never. 0.6 s for 100,000 points (100 MB). PostgreSQL looks after its own pages.
        """
        if self._engine.dialect.name != "sqlite":
            return
        with self.read() as connection:
            found = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
        if found != "ok":
            raise StoreError(f"{self.shown}: {CORRUPT} (SQLite: {' '.join(printable(found).split())[:200]})")

    @contextmanager
    def edge(self) -> Iterator[None]:
        try:
            yield
        except Unreadable as error:
            raise StoreError(f"{self.shown}: {CORRUPT} ({error})") from error
        except (SQLAlchemyError, OSError) as error:
            kind = StoreFull if _is_full(error, self._url) else StoreError
            raise kind(f"{self.shown}: {_sentence(error)}") from error

    def close(self) -> None:
        self._engine.dispose()

    def _ready(self) -> None:
        with self.read() as connection:
            version = self._version(connection)
        if version is not None and version > tables.VERSION:
            raise StoreError(
                f"{self.shown}: was written by a newer tune_cnn (its schema is {version}, ours {tables.VERSION}); "
                "update tune_cnn, or choose another home"
            )
        if version != tables.VERSION:
            with self.write() as connection:
                if self._engine.dialect.name == "postgresql":  # two that start at once: one creates, one waits
                    connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(tables.PREFIX))))
                if self._version(connection) != tables.VERSION:
                    tables.metadata.create_all(connection)  # those that are not there
                    connection.execute(insert(tables.schema).values(version=tables.VERSION))

    def _version(self, connection: Connection) -> int | None:
        there = inspect(connection).get_table_names()
        if tables.schema.name not in there:
            if there and self._engine.dialect.name == "sqlite":  # a PostgreSQL database may be shared
                raise StoreError(
                    f"{self.shown}: holds somebody else's tables ({', '.join(sorted(there)[:3])}), not a study's; "
                    "choose another home"
                )
            return None
        version: int | None = connection.scalar(select(func.max(tables.schema.c.version)))
        return version


def store_url(url_or_home: str | Path) -> URL:
    """A folder means <folder>/studies.db; anything with :// is a SQLAlchemy URL."""
    if "://" not in str(url_or_home):
        path = Path(url_or_home).expanduser().absolute() / FILE
        return URL.create("sqlite", database=str(path))
    try:
        return make_url(str(url_or_home))
    except ArgumentError:  # its text holds the URL, and so the password
        raise StoreError(
            "the store's URL is not one that SQLAlchemy reads, like postgresql+psycopg://host/db"
        ) from None


def shown(url: URL) -> str:
    """How messages name the store: the file, or the URL without its password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.set(query={}).render_as_string(hide_password=True)


def _prepare_folder(url: URL, *, create: bool) -> None:
    path = Path(str(url.database))
    if not create and not path.exists():
        raise StudyError(f"{path}: no study has been searched here yet; give the --home of the search")
    kind = network_file_system(path) if create else None
    if kind is not None:
        raise InputError(
            f"{path}: a store in SQLite can't lie on a network file system, here {kind}: its locks don't hold between "
            "machines, and two of them would damage it. Give a --home on a local disk, or keep the record in "
            "PostgreSQL: set TUNE_CNN_STORE; checkpoints may lie there, see --storage"
        )
    path.parent.mkdir(parents=True, exist_ok=True)


def _engine(url: URL) -> Engine:
    backend = url.get_backend_name()
    if backend not in {"sqlite", "postgresql"}:
        raise StoreError(f"{shown(url)}: a store is SQLite or PostgreSQL, got {backend!r}; use postgresql+psycopg://…")
    if backend == "postgresql" and url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    try:
        if backend == "postgresql":
            engine = create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 10})
            event.listen(engine, "connect", _postgresql_settings)
            return engine
        engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
    except ModuleNotFoundError as error:
        raise StoreError(
            f"{shown(url)}: needs the driver {error.name!r}, which is not installed; uv pip install 'psycopg[binary]'"
        ) from None
    except NoSuchModuleError:
        raise StoreError(f"{shown(url)}: no such driver {url.drivername!r}; use postgresql+psycopg://…") from None
    event.listen(engine, "connect", _sqlite_settings)
    event.listen(engine, "begin", _sqlite_begin)
    return engine


def _postgresql_settings(connection: DBAPIConnection, _record: object) -> None:
    """A machine that loses its power says no word to the server, which would keep its locks for two hours."""
    cursor = connection.cursor()
    cursor.execute(f"SET idle_in_transaction_session_timeout = '{SILENT_S}s'")
    cursor.close()
    connection.commit()


def _sqlite_settings(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # else sqlite3 begins transactions by its own rules
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_TIMEOUT_S * 1000}"):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_begin(connection: Connection) -> None:
    """A writer asks for the write lock first: a reader that turns writer may fail without waiting."""
    write = connection.get_execution_options().get("tune_cnn_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _is_full(error: Exception, url: URL) -> bool:
    """Whether it is for want of room on the disk, which may pass.

    SQLite says "disk I/O error" where it can't even grow the file of its locks.
    """
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        text = str(error.orig).lower()
        return "full" in text or ("disk i/o error" in text and not _has_room(Path(str(url.database)).parent))
    return getattr(error.orig, "sqlstate", None) == POSTGRESQL_DISK_FULL


def _has_room(folder: Path) -> bool:
    """For a page and the file of SQLite's locks, 32 KiB, and some."""
    try:
        return shutil.disk_usage(folder).free >= 2**20
    except OSError:
        return True


CORRUPT = "is corrupt; restore it from a backup, or read the study back from its MLflow server"
# What SQLite's messages mean for the user; the first that occurs in the text counts.
_MEANINGS = (
    ("not a database", "is not a SQLite database; move it away, or choose another home"),
    ("malformed", CORRUPT),
    ("could not decode", CORRUPT),
    ("full", "the disk is full; free some space, then run the same command again: what was committed is kept"),
    ("disk i/o error", "the disk can't be written (full, over its quota or failing); see to it, then run again"),
    ("readonly", "may not be written; check who owns it, or choose another home"),
    ("unable to open", "can't be opened or created; check the folder's permissions, or choose another home"),
    ("locked", f"is held by another process for over {BUSY_TIMEOUT_S} s; end that one, then run again"),
)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"can't be created or written: {error.strerror or error}; choose another home"
    text = str(error.orig if isinstance(error, DBAPIError) else error).strip()
    if isinstance(error, DBAPIError) and isinstance(error.orig, sqlite3.Error):
        meaning = next((meaning for key, meaning in _MEANINGS if key in text.lower()), None)
        return f"{meaning} (SQLite: {printable(text[:200])})" if meaning else f"SQLite says: {text}"
    first_line = text.splitlines()[0] if text else type(error).__name__
    return f"the database doesn't answer as it should: {first_line}; see that it runs and that you may write to it"
