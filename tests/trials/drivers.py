"""Drivers in processes of their own, each with the Ray that it starts or joins."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from tune_cnn.trials import ray_settings

PRELUDE = """
import json, os, sys
from scripted_drivers import Script, cpu_slots, payload, trial
from tune_cnn.errors import TuneCnnError
from tune_cnn.trials.cluster.machines import connected, fit, nodes
from tune_cnn.trials.cluster.remote import call_on_node
from tune_cnn.trials.tune_loop import run_trials
"""


def drive(script: str, *, cwd: Path, first: str = "", uv: bool = False, **environment: str) -> Any:
    """Run a script that ends with `print(json.dumps(…))`; what it printed. stdout must hold nothing else.

    `first` runs before anything of ours is imported; with `uv` the process has a parent that Ray takes for `uv run`.
    """
    path = os.pathsep.join([str(Path(__file__).parent)])
    command = [sys.executable, "-c", first + PRELUDE + script]
    if uv:  # a shell under uv's name, with a script of the name of uv's command
        (cwd / "run").write_text(f"{shlex.join(command)}\nexit $?\n")
        command = ["uv", "run"]
    done = subprocess.run(
        command,
        executable="/bin/sh" if uv else None,
        cwd=cwd,
        env={**untouched_environment(), "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def untouched_environment() -> dict[str, str]:
    """This process's, without what our settings of Ray have put there."""
    return {name: value for name, value in os.environ.items() if name not in ray_settings._SETTINGS}


def package(folder: Path, name: str) -> str:
    """A user's package with a loop and a function; its `package.module:`."""
    inside = folder / name
    inside.mkdir(parents=True)
    (inside / "__init__.py").touch()
    (inside / "training.py").write_text(
        "import os, ray\n"
        "from loops import SleepingLoop\n"
        "class Loop(SleepingLoop):\n"
        "    def train_epoch(self):\n"
        "        result = super().train_epoch()\n"
        "        print('noise on stdout')\n"
        "        node = ray.get_runtime_context().get_node_id()\n"
        "        result.metrics['node'] = float(int(node[:8], 16))\n"
        "        return result\n"
        "def where():\n"
        "    return os.path.abspath(__file__)\n"
    )
    return f"{name}.training:"
