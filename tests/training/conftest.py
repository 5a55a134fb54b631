"""What several tests of this room share."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from models_of_a_user import USERS
from ranks import Processes

from tune_cnn.training.rank import RankTraining


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For the jobs of a file."""
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture
def rank() -> Iterator[RankTraining]:
    """One rank in this process."""
    training = RankTraining()
    yield training
    training.end()


@pytest.fixture(scope="session")
def two_processes() -> Iterator[Processes]:
    """Two processes to be two ranks: starting them costs an import of torch, so they serve all tests."""
    processes = Processes(2)
    yield processes
    processes.end()


@pytest.fixture(scope="module")
def copied_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's project, outside the repository."""
    project = Path(__file__).parents[1] / "users_project"
    return Path(shutil.copytree(project, tmp_path_factory.mktemp("users") / "project"))


@pytest.fixture
def project(copied_project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same, its packages found by import as long as the test lasts."""
    monkeypatch.syspath_prepend(str(copied_project))
    yield copied_project
    for name in [name for name in sys.modules if name.partition(".")[0] == "outside"]:
        del sys.modules[name]


@pytest.fixture
def users_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Name of a module with a user's factories, found by import."""
    (tmp_path / "users_models_for_a_test.py").write_text(USERS)
    (tmp_path / "users_broken_for_a_test.py").write_text("raise OSError('a disk of sand')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "users_models_for_a_test"
    for module in ("users_models_for_a_test", "users_broken_for_a_test"):
        sys.modules.pop(module, None)
