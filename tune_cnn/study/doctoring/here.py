"""The machine where the search begins: its store, MLflow as it is reached from there, and what dead searches left."""

import os
from collections.abc import Sequence
from pathlib import Path

from tune_cnn.errors import TuneCnnError, first_line
from tune_cnn.records.file_system import network_file_system
from tune_cnn.records.mlflow.environment import check_uri, database_path, is_sqlite, make_quiet, shown_uri
from tune_cnn.study.doctoring.bounded import bounded
from tune_cnn.study.locations import Locations
from tune_cnn.training.inspection.between_nodes import read_probes, remove_probes, write_probe
from tune_cnn.training.inspection.health_checks import Check
from tune_cnn.trials.cluster.leftovers import Leftover
from tune_cnn.untyped import Untyped

STORE_S = 30.0  # a database's own limit for a connection is 10 s
MLFLOW_S = 45.0  # importing it takes some 5 s, a request of its own 15 s at most


def store_check(locations: Locations) -> Check:
    """The study's store: a database that answers, or a file on a disk that SQLite can work on."""
    named = os.environ.get("TUNE_CNN_STORE")
    if named and "://" in named:
        return _database(named)
    home = Path(named) if named else locations.home
    kind = network_file_system(home)
    seen = f"SQLite in {home}" + (f", on {kind}" if kind else "")
    todo = "choose a --home on a local disk, or name a PostgreSQL by TUNE_CNN_STORE" if kind else ""
    return Check(what="store", seen=seen, must="SQLite on a local disk, or PostgreSQL", ok=kind is None, todo=todo)


def _database(url: str) -> Check:
    from tune_cnn.records.store import Store  # with it comes SQLAlchemy: wanted for a database alone

    opened = bounded(lambda: Store(url, create=False), STORE_S)
    if isinstance(opened, Exception):
        todo = "see that it runs, and that TUNE_CNN_STORE names it"
        return Check(what="store", seen=first_line(opened), must="answers", ok=False, todo=todo)
    shown = opened.shown
    opened.close()
    return Check(what="store", seen=shown, must="answers", ok=True)


def storage_check(storage: str) -> Check:
    """A folder or a URI for checkpoints: what this machine writes there it reads again."""
    name = f"{os.getpid()}-0"

    def tried() -> str:
        try:
            return write_probe(storage, name) or read_probes(storage, [name])[name]
        finally:
            remove_probes(storage, [name])

    answer = bounded(tried, STORE_S)
    why = first_line(answer) if isinstance(answer, Exception) else answer
    todo = "name a folder or URI that the user of the search may write to" if why else ""
    seen = f"{storage}: {why or 'written and read'}"
    return Check(what="storage", seen=seen, must="what is written can be read", ok=not why, todo=todo)


def mlflow_check(uri: str) -> Check:
    """MLflow's server, asked once; a database's file that isn't there yet is not made."""
    must, seen = "answers", shown_uri(uri)
    try:
        check_uri(uri)
        if is_sqlite(uri) and not database_path(uri).exists():
            return Check(what="MLflow", seen=f"{seen}: not there yet, a search makes it", must=must, ok=True)
        answer: Exception | None = bounded(lambda: _ask(uri), MLFLOW_S)
    except TuneCnnError as error:
        answer = error
    if answer is None:
        return Check(what="MLflow", seen=seen, must=must, ok=True)
    said, todo = first_line(answer), "see that its server runs and lets you in; a search trains without it all the same"
    return Check(what="MLflow", seen=said if seen in said else f"{seen}: {said}", must=must, ok=False, todo=todo)


def _ask(uri: str) -> None:
    make_quiet(uri)
    from tune_cnn.records.mlflow.client import Server  # imports mlflow, which takes seconds

    Server(uri)


def leftovers_check(found: Untyped) -> Check:
    """From what was found, or the line that tells what was removed (None: nothing was)."""
    must = "nothing of dead searches"
    if isinstance(found, Exception):
        return Check(what="leftovers", seen=first_line(found), must=must, ok=False, todo="look again")
    if not found or isinstance(found, str):
        return Check(what="leftovers", seen=found or "none", must=must, ok=True)
    left: Sequence[Leftover] = found
    told = "; ".join(one.what for one in left[:3]) + (f"; and {len(left) - 3} more" if len(left) > 3 else "")
    return Check(what="leftovers", seen=told, must=must, ok=False, todo="`doctor --clean` ends and removes them")
