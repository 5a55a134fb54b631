"""What MLflow must find in its environment before it is imported, and how we name its servers; imports no mlflow."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

DEFAULT_TRACKING_URI = "sqlite:///mlflow.db"
_SQLITE = "sqlite:///"

# Read by MLflow when it is imported or asked: it starts a telemetry thread at its import, retries a request for
# minutes by itself (we do so better, with the backlog kept on the disk), and runs git.
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "OMP_NUM_THREADS": "1",
}


def outbox_environment(base: Mapping[str, str], tracking_uri: str) -> dict[str, str]:
    """The environment of the outbox's process."""
    return {**base, **_QUIET, **_artifact_root(tracking_uri)}


def make_quiet(tracking_uri: str) -> None:
    """The same for this process; to be called before `mlflow_reader` is first imported. What is set stays."""
    for name, value in {**_QUIET, **_artifact_root(tracking_uri)}.items():
        if name != "OMP_NUM_THREADS":  # this process may yet train
            os.environ.setdefault(name, value)


def absolute_uri(tracking_uri: str) -> str:
    """The same server from whichever folder: sqlite:///mlflow.db means a file of the folder one is in now."""
    if is_sqlite(tracking_uri):
        return _SQLITE + str(Path(tracking_uri.removeprefix(_SQLITE)).absolute())
    return tracking_uri


def is_sqlite(tracking_uri: str) -> bool:
    return tracking_uri.startswith(_SQLITE)


def is_database(tracking_uri: str) -> bool:
    """Written straight into tables, without a server between."""
    return tracking_uri.split("://")[0].split("+")[0] in {"sqlite", "postgresql", "mysql", "mssql"}


def database_path(tracking_uri: str) -> Path:
    """The file of a SQLite tracking URI."""
    return Path(tracking_uri.removeprefix(_SQLITE))


def database_folder(tracking_uri: str) -> Path:
    """Where a database without a server keeps its artifacts: beside the file, or in the folder one is in."""
    return database_path(tracking_uri).parent if is_sqlite(tracking_uri) else Path.cwd()


def artifact_folder(tracking_uri: str) -> Path | None:
    """The folder of artifacts where no server decides on it."""
    return database_folder(tracking_uri).absolute() / "mlartifacts" if is_database(tracking_uri) else None


def shown_uri(tracking_uri: str) -> str:
    """The server without its user and password."""
    parts = urlsplit(tracking_uri)
    if "@" not in parts.netloc:
        return tracking_uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _artifact_root(tracking_uri: str) -> dict[str, str]:
    folder = artifact_folder(tracking_uri)  # else MLflow's "Default" experiment points into whichever folder we are in
    return {} if folder is None else {"_MLFLOW_SERVER_ARTIFACT_ROOT": str(folder)}
