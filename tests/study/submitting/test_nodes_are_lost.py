"""A search that is sent to three nodes, of which two are lost one after the other: it goes on, and nothing is lost."""

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from database_server import postgres
from trials.one_cluster import OwnCluster, own_cluster

from study.commands import environment
from tune_cnn.records.store import Store

SPEC = """\
study: lossy
data: {name: digits, root: /tmp}
model: {name: small_cnn}
space:
  epochs: 12
  batch_size: [4, 8]
  learning_rate: {low: 0.01, high: 0.3, log: true}
stopper: none
resources: {slots: 3, cpus_per_trial: 1, checkpoint_every_s: 1}
budget: {trials: 6}
"""


@pytest.mark.cluster
def test_a_search_that_was_sent_outlives_two_of_its_three_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record is in PostgreSQL, its checkpoints in a folder that all nodes share, and its display is followed."""
    monkeypatch.setenv("HOME", str(tmp_path))  # the head's, below which logs and reports go
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "spec.yaml").write_text(SPEC)
    with postgres() as url, own_cluster(cpus=1) as cluster:
        (tmp_path / "store").write_text(url + "\n")
        for _ in range(2):
            cluster.join(cpus=1)
        _await_nodes(cluster, 3)
        sent = _start(cluster, tmp_path)
        store = Store(url)
        try:
            for node, points in ((0, 3), (1, 12)):
                _await_points(store, points, sent, tmp_path)
                cluster.lose(cluster.nodes[node])
            assert sent.wait(420) == 0, (tmp_path / "said").read_text()
            found = [(point.trial, point.epoch) for point in store.points("lossy")]
            assert sorted(found) == [(trial, epoch) for trial in range(6) for epoch in range(1, 13)]
            assert {trial.state for trial in store.trials("lossy")} == {"complete"}
            assert store.study("lossy").state == "finished"
        finally:
            store.close()
            if sent.poll() is None:
                sent.kill()
        said = (tmp_path / "said").read_text()
        assert "the search begins" in said
        assert "finished" in said
        assert "stalled" not in said, "a lost node is no trial that stands still"


def _start(cluster: OwnCluster, folder: Path) -> "subprocess.Popen[bytes]":
    words = ["submit", "spec.yaml", "--jobs-url", cluster.url, "--store", str(folder / "store"), "--follow"]
    words += ["--storage", str(folder / "storage")]
    env = {**environment(folder), **cluster.environment, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    with (folder / "said").open("w") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "tune_cnn", *words], cwd=folder / "work", env=env, stdout=out, stderr=out
        )


def _await_nodes(cluster: OwnCluster, count: int) -> None:
    until_s = time.monotonic() + 120
    listed: object = None
    while time.monotonic() < until_s:
        with suppress(OSError):  # a head that is still starting may hang up
            listed = json.loads(cluster.ask("/api/v0/nodes?detail=1&limit=100"))["data"]["result"]["result"]
            if sum(node["state"] == "ALIVE" for node in listed) >= count:
                return
        time.sleep(1)
    raise AssertionError(f"no {count} nodes: {listed}")


def _await_points(store: Store, count: int, sent: "subprocess.Popen[bytes]", folder: Path) -> None:
    """Until the search has committed so many, and three trials have run."""
    until_s = time.monotonic() + 240
    while store.study("lossy") is None or len(store.points("lossy")) < count or len(store.trials("lossy")) < 3:
        assert sent.poll() is None and time.monotonic() < until_s, (folder / "said").read_text()
        time.sleep(0.3)
