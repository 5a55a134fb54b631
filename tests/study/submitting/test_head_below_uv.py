"""A search that is sent to a head which `uv run` keeps alive: Ray would start its processes by `uv run` as well."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from missing import missing
from trials.one_cluster import own_cluster

from study.commands import environment

SPEC = """\
study: sent
data: {name: digits, root: /tmp}
model: {name: small_cnn}
space: {epochs: 2, batch_size: [64, 128]}
resources: {slots: 1}
budget: {trials: 1}
"""


@pytest.mark.cluster
def test_a_search_trains_on_a_head_below_uv_run(tmp_path: Path) -> None:
    """`uv run ray start --head --block`, as a service has it, with Ray's own settings."""
    if shutil.which("uv") is None:
        missing("uv is not on the path")
    (tmp_path / "spec.yaml").write_text(SPEC)
    words = ["submit", "spec.yaml", "--on-head", str(tmp_path / "head"), "--follow"]
    with own_cluster(cpus=1, by=("uv", "run", "--active", "--no-sync")) as cluster:
        told = subprocess.run(
            [sys.executable, "-m", "tune_cnn", *words, "--jobs-url", cluster.url],
            cwd=tmp_path,
            env={**environment(tmp_path), **cluster.environment},
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "finished" in told.stderr
