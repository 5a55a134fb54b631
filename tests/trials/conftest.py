"""One Ray for the tests of this room: its processes are real, its five cores and its GPU are declared."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def one_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests that need a Ray of their own must not run while this one stands: Ray knows one to a process."""
    from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)

    import ray  # isort: skip

    ray.init(
        address="local", num_cpus=5, num_gpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False
    )
    yield
    ray.shutdown()
