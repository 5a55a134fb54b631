"""Ray's settings hold whatever was imported first."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from drivers import drive, untouched_environment

WORKER = """
with connected(None, code=[], calls=[]):
    import ray
    print(json.dumps([ray.get_runtime_context().runtime_env, call_on_node("loops:executable", {"CPU": 1.0})]))
"""


def test_under_uv_run_workers_start_by_the_drivers_own_python(tmp_path: Path) -> None:
    """Where ray was imported before us it would start each by `uv run`, which builds it an environment."""
    job, worker = drive(WORKER, cwd=tmp_path, first="import ray\n", uv=True)
    assert job == {}
    assert worker == sys.executable


def test_who_asks_for_uvs_workers_gets_them(tmp_path: Path) -> None:
    """What the user has set stays."""
    ask = "print(json.dumps(sys.modules['ray._private.ray_constants'].RAY_ENABLE_UV_RUN_RUNTIME_ENV))"
    assert drive(ask, cwd=tmp_path, first="import ray\n", RAY_ENABLE_UV_RUN_RUNTIME_ENV="1") is True


CONSTANTS = """
import json, sys, time
FIRST
import tune_cnn.trials.tune_loop, tune_cnn.trials.cluster.machines
kept = {}
for name, module in list(sys.modules.items()):
    if name == "ray" or name.startswith("ray."):
        kept |= {
            f"{name}.{key}": value
            for key, value in vars(module).items()
            if not key.startswith("__") and isinstance(value, bool | int | float | str)
            and not (isinstance(value, float) and abs(value - time.time()) < 3600)  # when it was imported
        }
print(json.dumps(kept))
"""


def test_no_setting_is_kept_by_ray_as_it_was_before_ours() -> None:
    """All that Ray's modules hold is the same in both orders: a brother of the one of `uv run` would differ."""
    ours_first, ray_first = (_constants(first) for first in ("", "import ray, ray.tune"))
    assert len(ours_first) > 500
    assert {key: (value, ray_first.get(key)) for key, value in ours_first.items() if ray_first.get(key) != value} == {}


def _constants(first: str) -> dict[str, Any]:
    command, env = [sys.executable, "-c", CONSTANTS.replace("FIRST", first)], untouched_environment()
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
