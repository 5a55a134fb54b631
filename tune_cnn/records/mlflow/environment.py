"""What MLflow must find in its environment before it is imported, and how we name its servers; imports no mlflow."""

import getpass
import os
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import quote, urlencode

from tune_cnn.errors import InputError
from tune_cnn.text import printable
from tune_cnn.urls import secrets_in, shown_url

DEFAULT_TRACKING_URI = "sqlite:///mlflow.db"
VARIABLE = "MLFLOW_TRACKING_URI"
LOCAL_UI = "http://127.0.0.1:5000"  # where `mlflow ui` shows a database, unless told otherwise
_SQLITE = "sqlite:///"
_BARE = {"databricks", "uc"}
_PLACES = {"host", "port", "dbname", "service", "sslmode", "mode", "uri"}  # options of a database's URI: no secrets
_SCHEMES = {"http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks", "databricks-uc", "uc"}

_LOOPBACK = ("127.0.0.1", "localhost", "::1")

# Read by MLflow when it is imported or asked: it starts a telemetry thread at its import, retries a request for
# minutes by itself (we do so better, with the backlog kept on the disk), and runs git.
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",  # it would put the lock file of the folder one is in into a model
    "GIT_PYTHON_REFRESH": "quiet",
    "OMP_NUM_THREADS": "1",
}


def outbox_environment(base: Mapping[str, str], tracking_uri: str) -> dict[str, str]:
    """The environment of the outbox's process."""
    return {**base, **_QUIET, **_artifact_root(tracking_uri), **_without_proxy(base)}


def make_quiet(tracking_uri: str) -> None:
    """The same for this process; to be called before mlflow is first imported.

    What is set stays until the caller takes it back (`left_as_found`), at best when MLflow has been asked: it reads
    its timeouts anew with every request.
    """
    for name, value in {**_QUIET, **_artifact_root(tracking_uri)}.items():
        if name != "OMP_NUM_THREADS":  # this process may yet train
            os.environ.setdefault(name, value)
    os.environ.update(_without_proxy(os.environ))


def absolute_uri(tracking_uri: str) -> str:
    """The same server from whichever folder: sqlite:///mlflow.db means a file of the folder one is in now."""
    if is_sqlite(tracking_uri):
        return _SQLITE + str(Path(tracking_uri.removeprefix(_SQLITE)).absolute())
    return tracking_uri


def check_uri(tracking_uri: str) -> None:
    """InputError for what MLflow could make nothing of, before MLflow is asked, or makes a folder of that name."""
    scheme = tracking_uri.partition(":")[0].partition("+")[0]
    known = _SCHEMES | {entry.name for entry in entry_points(group="mlflow.tracking_store")}
    if ("://" not in tracking_uri and tracking_uri not in _BARE) or scheme not in known:
        raise InputError(
            f"{given_by(tracking_uri)}: must be a server (http://… or https://…) or a database (sqlite:///FILE, "
            f"postgresql://…), got {shown_uri(tracking_uri)!r}{_of_folder(tracking_uri)}"
        )


def user_name() -> str:
    """For a run's record: the name, or the number where the system has no name for it, as in many containers."""
    try:
        return printable(getpass.getuser())
    except (KeyError, OSError):
        return str(os.getuid())


def given_by(tracking_uri: str) -> str:
    """Who named this server: the environment, or the option."""
    named = os.environ.get(VARIABLE)
    return VARIABLE if named and tracking_uri in {named, absolute_uri(named)} else "--tracking-uri"


def _of_folder(tracking_uri: str) -> str:
    """A folder of files was MLflow's first store, and takes nothing new."""
    is_folder = tracking_uri.startswith("file:") or "://" not in tracking_uri
    return f"; a folder of files is no store any more: give {DEFAULT_TRACKING_URI}" if is_folder else ""


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
    """The server without user and password, and of its options those alone that say where it is."""
    return shown_url(tracking_uri, _PLACES)


def runs_view(experiment_id: str, **query: str) -> str:
    """A study's runs within MLflow's page. An experiment's own address opens, at a first visit, on an overview of what
    MLflow traces of language models (3.17), which a study has nothing of."""
    workflow = {"workflowType": "machine_learning"}
    return f"#/experiments/{experiment_id}/runs?{urlencode({**workflow, **query}, quote_via=quote)}"


def runs_page(tracking_uri: str, experiment_id: str) -> str | None:
    """The whole address: at the server, or where `mlflow ui` shows the database; None where another page does."""
    if is_database(tracking_uri):
        return f"{LOCAL_UI}/{runs_view(experiment_id)}"
    shown = shown_uri(tracking_uri)
    return f"{shown.rstrip('/')}/{runs_view(experiment_id)}" if is_server(shown) else None


def is_server(tracking_uri: str) -> bool:
    return tracking_uri.startswith(("http://", "https://"))


def secrets_of(tracking_uri: str) -> list[str]:
    """What no message may hold, as it stands in the URI and as it is meant."""
    return secrets_in(tracking_uri, _PLACES)


def check_argument(tracking_uri: str) -> None:
    """InputError for a password among a command's arguments, which everyone on the machine may read."""
    if secrets_of(tracking_uri):
        raise InputError(
            f"--tracking-uri: holds a password, or an option that may be one, and everyone on this machine can read a "
            f"command's arguments; give {shown_uri(tracking_uri)} and set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or put the whole of it into MLFLOW_TRACKING_URI"
        )


def _without_proxy(base: Mapping[str, str]) -> dict[str, str]:
    """A server on this machine is asked itself, whatever proxy is set for the others."""
    given = base.get("no_proxy") or base.get("NO_PROXY")
    hosts = ",".join([*([given] if given else []), *_LOOPBACK])
    return {"no_proxy": hosts, "NO_PROXY": hosts}


def _artifact_root(tracking_uri: str) -> dict[str, str]:
    folder = artifact_folder(tracking_uri)  # else MLflow's "Default" experiment points into whichever folder we are in
    return {} if folder is None else {"_MLFLOW_SERVER_ARTIFACT_ROOT": str(folder)}
