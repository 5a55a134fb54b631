"""What several tests of this room share."""

from collections.abc import Iterator

import pytest
from ranks import Processes


@pytest.fixture(scope="session")
def two_processes() -> Iterator[Processes]:
    """Two processes to be two ranks: starting them costs an import of torch, so they serve all tests."""
    processes = Processes(2)
    yield processes
    processes.end()
