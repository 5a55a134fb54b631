"""Drivers in processes of their own, each with the Ray that it starts or joins."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PRELUDE = """
import json, os, sys
from scripted_drivers import Script, cpu_slots, payload, trial
from tune_cnn.errors import TuneCnnError
from tune_cnn.trials.cluster import connected, fit, nodes
from tune_cnn.trials.remote import call_on_node
from tune_cnn.trials.tune_loop import run_trials
"""


def drive(script: str, *, cwd: Path, **environment: str) -> Any:
    """Run a script that ends with `print(json.dumps(…))`; what it printed. stdout must hold nothing else."""
    path = os.pathsep.join([str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


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
