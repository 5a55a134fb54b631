"""Processes on Ray's nodes hold the GPUs at a phase's power limit; one GPU is declared, NVML is made up."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pynvml
import pytest
from drivers import untouched_environment
from nvml_in_a_file import NvmlInAFile, gpu

from tune_cnn.trials.power import restored_limits

TESTS = Path(__file__).parents[1]
RAY = """
import json, os, sys, time
import pynvml
from pathlib import Path
from nvml_in_a_file import NvmlInAFile
from tune_cnn.trials import ray_settings
import ray
from tune_cnn.errors import ResourceError
from tune_cnn.spec import Resources
from tune_cnn.trials.power import power_of
ray_settings.apply()
ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
node = NvmlInAFile(Path(os.environ["NVML_IN_A_FILE"]))
resources = Resources(power_limit_w=[200, 250])
"""
SEARCHES = """
seen = []
for end in (None, ValueError, KeyboardInterrupt):
    try:
        with power_of(resources) as power:
            for watts in (200.0, 250.0):
                power.hold(watts)
                seen.append(node.limits_w()[0])
            if end is not None:
                raise end
    except (ValueError, KeyboardInterrupt):
        pass
    seen.append(node.limits_w()[0])
refused, before = [], node.ever_set()
try:
    with power_of(Resources(power_limit_w=[200, 400])) as power:
        power.hold(200.0)
except ResourceError as error:
    refused.append(str(error))
refused.append(node.ever_set() == before)
with power_of(resources) as power:
    power.hold(200.0)
    print(json.dumps({"seen": seen, "refused": refused}), flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> NvmlInAFile:
    found = NvmlInAFile(tmp_path_factory.mktemp("power") / "nvml.json")
    found.write(gpu(0))
    return found


@pytest.fixture(scope="module")
def driver(node: NvmlInAFile) -> Iterator[subprocess.Popen[str]]:
    """Searches one after another in one process, all of whose processes find the made-up NVML; the last goes on."""
    environment = {
        **untouched_environment(),
        "PYTHONPATH": os.pathsep.join([str(TESTS / "nvml_in_front"), str(TESTS)]),
        "NVML_IN_A_FILE": str(node.path),
        "XDG_STATE_HOME": str(node.path.with_name("state")),
    }
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    command = [sys.executable, "-c", RAY + SEARCHES]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=node.path.parent) as process:
        yield process
        process.kill()


@pytest.fixture(scope="module")
def told(driver: subprocess.Popen[str]) -> Any:
    """What it says once its last search holds the limit."""
    assert driver.stdout is not None
    return json.loads(driver.stdout.readline())


def test_every_phase_has_its_limit_and_every_end_restores(told: Any) -> None:
    """The end of a search, an error, and Ctrl-C."""
    assert told["seen"] == [200.0, 250.0, 300.0] * 3


def test_a_limit_of_a_later_phase_that_can_not_be_is_refused_before_the_first(told: Any) -> None:
    """And nothing was changed for it."""
    message, unchanged = told["refused"]
    assert "must lie within 100 to 350 W" in message and "got 400" in message
    assert unchanged


@pytest.mark.usefixtures("told")
def test_after_kill_9_the_next_start_restores(
    driver: subprocess.Popen[str], node: NvmlInAFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver can't say goodbye; Ray ends the process that held the limit, and its lock is free."""
    driver.kill()
    driver.wait()
    assert node.limits_w() == [200.0]
    for name, function in node.functions().items():
        monkeypatch.setattr(pynvml, name, function)
    monkeypatch.setenv("XDG_STATE_HOME", str(node.path.with_name("state")))
    (line,) = restored_limits(on_cluster=False)
    assert "at 200 W: it has 300 W again" in line
    assert node.limits_w() == [300.0]
    assert restored_limits(on_cluster=False) == []
