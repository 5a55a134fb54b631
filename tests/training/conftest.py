"""What several tests of this room share."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from models_of_a_user import USERS
from ranks import Processes


@pytest.fixture(scope="session")
def two_processes() -> Iterator[Processes]:
    """Two processes to be two ranks: starting them costs an import of torch, so they serve all tests."""
    processes = Processes(2)
    yield processes
    processes.end()


@pytest.fixture
def users_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Name of a module with a user's factories, found by import."""
    (tmp_path / "users_models_for_a_test.py").write_text(USERS)
    (tmp_path / "users_broken_for_a_test.py").write_text("raise OSError('a disk of sand')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "users_models_for_a_test"
    for module in ("users_models_for_a_test", "users_broken_for_a_test"):
        sys.modules.pop(module, None)
