"""A search that is sent to a real cluster: found by its name, cancelled at the epoch, gone on with, secrets unseen."""

import json
import secrets
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from inputs.shard_files import samples, write_shard
from inputs.shard_server import served
from trials.one_cluster import OwnCluster, own_cluster

from study.commands import SECRET, environment
from tune_cnn.records.store import Store
from tune_cnn.spec.addresses import QUERY
from tune_cnn.trials.jobs.server import JobsServer, NoEnd

SPEC = """\
study: sent
data: {name: "webdataset:ADDRESS/train.tar", image_size: 16}
model: {name: small_cnn}
space:
  epochs: 300
  batch_size: [4, 8]
  learning_rate: {low: 0.01, high: 0.3, log: true}
stopper: none
resources: {slots: 1}
budget: {trials: 1}
"""


SIGNATURE = "sig=unterschrift-" + secrets.token_hex(8)  # without it the server of the images refuses


def command(cluster: OwnCluster, folder: Path, *words: str, code: int = 0) -> str:
    env = {**environment(folder), **cluster.environment, "MLFLOW_TRACKING_PASSWORD": SECRET, QUERY: SIGNATURE}
    ended = subprocess.run(
        [sys.executable, "-m", "tune_cnn", *words], cwd=folder, env=env, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == code, f"{words} ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout + ended.stderr


@pytest.mark.cluster
def test_a_search_is_sent_found_cancelled_and_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The secrets that travel stand in no file of Ray's, no job's description and no process's arguments; by one of
    them a node reads the images."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    write_shard(tmp_path / "shards" / "train.tar", samples(0, 80))
    with served(tmp_path / "shards") as server:
        server.query = SIGNATURE
        _sent_found_cancelled_and_gone_on_with(tmp_path, monkeypatch, server.address)


def _sent_found_cancelled_and_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC.replace("ADDRESS", address))
    (tmp_path / ".gitignore").write_text("private/\n")
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "notes").write_text("stays")
    head = tmp_path / "head"
    submit = ("submit", "spec.yaml", "--on-head", str(head))
    with own_cluster(cpus=1) as cluster:
        told = command(cluster, tmp_path, *submit, "--jobs-url", cluster.url)
        assert "private/" in told
        assert "tune-cnn.sent.1" in told
        assert "runs there already" in command(cluster, tmp_path, *submit)
        _await_more(0, cluster, tmp_path, head)
        _assert_unseen(cluster)
        command(cluster, tmp_path, "cancel", "sent")
        assert "interrupted" in command(cluster, tmp_path, "watch", "sent", code=130)
        assert "not running" in command(cluster, tmp_path, "cancel", "sent", code=2)
        status = json.loads(command(cluster, tmp_path, "status", "sent", "--json"))
        assert status["job"]["status"] == "interrupted"
        before = _points(head)
        assert "goes on" in command(cluster, tmp_path, *submit)
        _await_more(before, cluster, tmp_path, head)
        _assert_unseen(cluster)
        command(cluster, tmp_path, "cancel", "sent", "--now")
        assert "stopped" in command(cluster, tmp_path, "watch", "sent", code=130)
        assert "the search begins" in command(cluster, tmp_path, "logs", "sent")
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
            monkeypatch.setenv(name, cluster.environment[name])
        with pytest.raises(NoEnd, match=r"not ended in 10 s and stands at (PENDING|RUNNING)"):
            JobsServer(cluster.url).command("sleep 100", timeout_s=10)


def _points(head: Path) -> int:
    if not (head / "studies.db").exists():
        return 0
    store = Store(head)
    try:
        if store.study("sent") is None:  # the search makes the file first
            return 0
        points = [(point.trial, point.epoch) for point in store.points("sent")]
    finally:
        store.close()
    assert len(points) == len(set(points))
    return len(points)


def _await_more(before: int, cluster: OwnCluster, folder: Path, head: Path) -> None:
    until_s = time.monotonic() + 180
    while _points(head) <= before:
        assert time.monotonic() < until_s, command(cluster, folder, "logs", "sent")
        time.sleep(0.5)


def _assert_unseen(cluster: OwnCluster) -> None:
    words = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    for secret in (SECRET, SIGNATURE.partition("=")[2]):
        assert secret not in cluster.ask("/api/jobs/")
        found = [path for path in cluster.folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
        assert found == []
        assert not [one for one in words if secret in " ".join(one)]
    assert _has_it(), "the search itself has it, else this test shows nothing"


def _has_it() -> bool:
    for process in psutil.process_iter():
        try:
            told = process.environ()
        except psutil.Error:
            continue
        if "TUNE_CNN_SUBMISSION" in told and told.get("MLFLOW_TRACKING_PASSWORD") == SECRET:
            return True
    return False
