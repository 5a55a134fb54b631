"""Where a submitted search keeps its record and checkpoints, and what of the environment goes with it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tune_cnn.errors import InputError
from tune_cnn.records.database import store_url
from tune_cnn.records.mlflow.environment import VARIABLE, absolute_uri, check_uri, is_server, secrets_of
from tune_cnn.spec.addresses import QUERY
from tune_cnn.study.submitting.remembered import STORE, store_from

HOME_THERE = "~/.tune_cnn/submitted"  # on the head: logs and reports, where record and checkpoints are elsewhere
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_SECRET_NAMES = ("PASSWORD", "TOKEN", "USERNAME")
TRACKING = "MLFLOW_TRACKING_"


@dataclass(frozen=True, kw_only=True)
class Places:
    """What the search is told of on the cluster. `environment` may hold passwords, and goes nowhere unsealed then."""

    home: str
    storage: str | None
    environment: Mapping[str, str]

    @property
    def is_secret(self) -> bool:
        return any(
            name == QUERY or name.endswith(_SECRET_NAMES) or bool(secrets_of(value))
            for name, value in self.environment.items()
        )


def places(
    *, store: Path | None, storage: str | None, on_head: str | None, tracking_uri: str | None, jobs_url: str
) -> Places:
    """InputError where the head's disk would be the only copy and nobody said that it may be."""
    url = store_from(store) if store is not None else os.environ.get(STORE)
    if on_head is not None and not on_head.startswith(("/", "~/")):
        raise InputError(f"--on-head: must be a folder's whole path on the head, got {on_head!r}")
    if url is None and on_head is None:
        raise InputError(
            "submit: the record would have its only copy on the head's disk; give --store FILE, a file that holds a "
            f"PostgreSQL URL (or set {STORE}), or --on-head FOLDER where the head's disk will do"
        )
    if storage is None and on_head is None:
        raise InputError(
            "submit: checkpoints would have their only copy on the disk of the node that trains; give --storage, a "
            "folder that all nodes share or a URI such as s3://bucket/studies, or --on-head FOLDER where that will do"
        )
    environment = {name: value for name, value in os.environ.items() if name.startswith(TRACKING) or name == QUERY}
    if tracking_uri is not None:
        environment[VARIABLE] = tracking_uri
    if uri := environment.get(VARIABLE):
        check_uri(uri)
        environment[VARIABLE] = absolute_uri(uri)  # the job's folder on the head goes with the job
    if url is not None:
        if store_url(url).get_backend_name() == "sqlite":
            raise InputError(
                "--store: is a SQLite file, which the head can't share; give a PostgreSQL URL, or --on-head"
            )
        environment[STORE] = url
    _check_reachable(environment, jobs_url)
    return Places(home=on_head or HOME_THERE, storage=_checked_storage(storage), environment=environment)


def _checked_storage(storage: str | None) -> str | None:
    if storage is None or "://" in storage or storage.startswith("/"):
        return storage
    raise InputError(f"--storage: must be a folder's whole path, the same on every node, or a URI, got {storage!r}")


def _check_reachable(environment: Mapping[str, str], jobs_url: str) -> None:
    """What is on this machine's loopback is not there on another one's."""
    if urlsplit(jobs_url).hostname in _LOOPBACK:
        return
    uri = environment.get(VARIABLE)
    if uri is not None and not is_server(uri) and uri.startswith("sqlite:"):
        raise InputError(
            "--tracking-uri: is a file of this machine, and the search runs on another; give MLflow's server, or leave "
            "it out: a database on the head then"
        )
    for what, found in (("--tracking-uri", uri), ("--store", environment.get(STORE))):
        if found is not None and urlsplit(found).hostname in _LOOPBACK:
            raise InputError(
                f"{what}: names this machine as {urlsplit(found).hostname}, which on the cluster is another one; give "
                "the name by which the head finds it"
            )
