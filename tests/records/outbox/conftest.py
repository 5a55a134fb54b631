"""A made-up study of each test's own, MLflow on SQLite, and MLflow's server as a process."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from database_server import postgres_url as postgres_url  # a fixture
from records.outbox.delivered import two_trials
from records.outbox.served import Served, serve

from tune_cnn.records.store import Store


@pytest.fixture(scope="session")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> str:
    """MLflow without a server between."""
    return f"sqlite:///{tmp_path_factory.mktemp('tracking')}/mlflow.db"


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """MLflow's own server, a process; one for all tests, as it takes seconds to start."""
    with serve(tmp_path_factory.mktemp("served")) as server:
        yield server


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return re.sub(r"[^\w.-]+", "-", request.node.name)[:100]  # an experiment of each test's own


@pytest.fixture
def store(tmp_path: Path, name: str) -> Iterator[Store]:
    """Two trials of three epochs, both on the front; see `two_trials`."""
    store = two_trials(tmp_path, name)
    yield store
    store.close()
