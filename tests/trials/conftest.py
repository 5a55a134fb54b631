"""One Ray for the tests of this room: its processes are real, its five cores and its GPU are declared."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Ray's processes keep what they compile, also where the tests' own must not: each would compile all of Ray."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("compiled")))
        yield


@pytest.fixture(scope="session")
def one_ray(compiled: None) -> Iterator[None]:
    """A process knows one Ray at a time: tests of another one run in a process of their own."""
    from tune_cnn.trials import ray_settings  # (before ray)

    import ray  # isort: skip

    ray_settings.apply()
    ray.init(
        address="local", num_cpus=5, num_gpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False
    )
    yield
    ray.shutdown()
