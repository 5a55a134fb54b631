"""What all tests share: a Ray, and how they spread over processes; Ctrl-C reaches the processes that they start."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
# Files and rooms whose tests share what is costly to start: a Ray, servers, two ranks. They run in one process.
SHARED = {
    "study/searching/test_dry_run.py": "one Ray",
    "trials/": "one Ray",
    "records/outbox/": "MLflow",
    "training/test_two_ranks.py": "two ranks",
    "training/process/test_process_group.py": "two ranks",
    "training/user_code/test_user_training.py": "two ranks",
    "training/user_code/test_lightning_modules.py": "two ranks",
    "training/user_code/test_user_scripts.py": "two ranks",
    "training/strategies/test_together.py": "two ranks",
    "training/profiling/test_bench_ranks.py": "two ranks",
}
# Rooms whose tests start processes by themselves come first: at the end, only short ones are left to share out.
FIRST = ("study", "trials", "mlflow_server", "records")

# Two processes and what they start share the cores: several threads in each would wait for one another, spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the tests in the background has them ignore Ctrl-C, and all their processes would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes for the whole suite on two cores; the file or test that somebody names runs in this one."""
    whole = all(Path(name).resolve() in (HERE, HERE.parent) for name in config.args)
    cores = len(os.sched_getaffinity(0))
    return min(2, cores) if whole and cores > 1 else 0


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """By file, or by what tests of several files share."""
    from xdist.scheduler import LoadScopeScheduling

    class BySharing(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return next((shared for name, shared in SHARED.items() if file.startswith(f"tests/{name}")), file)

    return BySharing(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long ones first, where they are shared out."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.path.relative_to(HERE).parts[0] not in FIRST)


@pytest.fixture(scope="session")
def one_ray() -> Iterator[None]:
    """Its processes are real, its five cores and its GPU are declared.

    A process knows one Ray at a time: tests of another one run in a process of their own.
    """
    from tune_cnn.trials import ray_settings  # (before ray)

    import ray  # isort: skip

    ray_settings.apply()
    ray.init(
        address="local", num_cpus=5, num_gpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False
    )
    yield
    ray.shutdown()
