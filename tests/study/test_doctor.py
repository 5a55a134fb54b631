"""`doctor` on a real cluster of two nodes, of which one is broken: it is named, with what must hold and what to do."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray
from missing import missing

from study.commands import environment
from tune_cnn.spec.calls import resolve
from tune_cnn.study.doctoring.cluster import Examination
from tune_cnn.study.doctoring.here import leftovers_check, mlflow_check, storage_check, store_check
from tune_cnn.study.locations import Locations
from tune_cnn.training.inspection.health import find_facts
from tune_cnn.trials.cluster.address import why_silent
from tune_cnn.trials.cluster.leftovers import Leftover

OPEN_FILES = 1000


@dataclass(frozen=True, kw_only=True)
class Broken:
    address: str
    storage: Path
    environment: dict[str, str]


@pytest.fixture
def broken_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broken]:
    """A cluster whose second node has another torchvision, few open files, and an empty folder over the storage."""
    from ray.cluster_utils import Cluster

    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        missing("a mount namespace of the test's own (unshare -m, as root)")
    storage, elsewhere, other = tmp_path / "storage", tmp_path / "elsewhere", tmp_path / "other"
    for folder in (storage, elsewhere, other / "torchvision-99.9.dist-info"):
        folder.mkdir(parents=True)
    (other / "torchvision-99.9.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: torchvision\nVersion: 99.9\n"
    )
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={cluster.address}", "--num-cpus=1"]
    inside = (
        f"mount --bind {shlex.quote(str(elsewhere))} {shlex.quote(str(storage))}; ulimit -n {OPEN_FILES}; "
        f"exec {shlex.join([*start, '--block'])}"
    )
    around = {**os.environ, "PYTHONPATH": str(other)}
    with (tmp_path / "node.log").open("w") as log:
        node = subprocess.Popen(
            ["unshare", "-m", "bash", "-c", inside], env=around, stdout=log, stderr=log, start_new_session=True
        )
    try:
        until_s = time.monotonic() + 120
        while len(cluster.global_state._live_node_ids()) < 2:
            assert time.monotonic() < until_s and node.poll() is None, (tmp_path / "node.log").read_text()
            time.sleep(0.2)
        yield Broken(address=cluster.address, storage=storage, environment=environment(tmp_path))
    finally:
        os.killpg(node.pid, signal.SIGTERM)
        node.wait(30)
        cluster.shutdown()


def test_a_broken_node_is_named_with_what_to_do(broken_node: Broken, tmp_path: Path) -> None:
    """Exit code 1; the sound node and this machine have no fault, and no probe stays in the storage."""
    words = ["doctor", "quickstart", "--address", broken_node.address, "--storage", str(broken_node.storage), "--json"]
    ended = subprocess.run(
        [sys.executable, "-m", "tune_cnn", *words],
        cwd=tmp_path,
        env=broken_node.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    document = json.loads(ended.stdout)
    assert document["ok"] is False and len(document["nodes"]) == 3
    ill = {node["name"]: wrong for node in document["nodes"] if (wrong := wrong_of(node))}
    assert len(ill) == 1, ill
    (found,) = ill.values()
    assert set(found) == {"versions", "open files", "storage"}
    assert "torchvision 99.9, here" in found["versions"]["seen"] and "uv sync" in found["versions"]["todo"]
    assert found["open files"]["seen"] == f"{OPEN_FILES:,} a process"
    assert "No such file" in found["storage"]["seen"] and "mount the same storage" in found["storage"]["todo"]
    assert not list(broken_node.storage.iterdir()) and not list((tmp_path / "elsewhere").iterdir())


def wrong_of(node: Mapping[str, Any]) -> dict[str, Any]:
    return {check["what"]: check for check in node["checks"] if not check["ok"]}


class Frozen:
    """Two nodes, the second of which has not answered for as long as it may take."""

    def __init__(self) -> None:
        self.addresses = {"a": "127.0.0.1", "b": "10.0.0.2"}
        self.asked: list[str] = []

    def ask(self, path: str, arguments: Mapping[str, tuple[Any, ...]], *, within_s: float) -> dict[str, Any]:
        self.asked += arguments
        function = resolve(path)
        return {
            n: function(*args) if n == "a" else TooLate(f"no answer in {within_s:.0f} s")
            for n, args in arguments.items()
        }

    def clock(self, name: str, *, within_s: float) -> tuple[float, float, float] | None:
        return 0.0, 10.5, 1.0


class TooLate(Exception):
    pass


def test_a_node_that_is_frozen_is_a_row_and_is_asked_once(tmp_path: Path) -> None:
    """The others are examined all the same; a clock ten seconds ahead is said with how far it may be wrong."""
    nodes, report = Frozen(), {"driver": []}
    examination = Examination(nodes, find_facts({}), report, "driver")
    examination.facts({"cache": str(tmp_path)})
    examination.reachability()
    examination.storage(str(tmp_path))
    assert [(check.what, check.seen) for check in report["b"]] == [("answer", "no answer in 90 s")]
    assert nodes.asked.count("b") == 1
    of_a = {check.what: check for check in report["a"]}
    assert of_a["clock"].seen.startswith("+10.000 s ± 0.500 s") and not of_a["clock"].ok
    assert of_a["storage"].ok and of_a["cache"].ok
    assert report["driver"][0].what == "storage" and not list(tmp_path.iterdir())


def test_a_tracking_server_that_is_away_is_said_and_a_file_is_not_made(tmp_path: Path) -> None:
    there = mlflow_check(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert there.ok and not list(tmp_path.iterdir())
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # taken, and nobody listens
        away = mlflow_check(f"http://127.0.0.1:{bound.getsockname()[1]}")
    assert not away.ok and "delivers" not in away.seen and away.todo


def test_what_dead_searches_have_left_is_told_and_what_was_removed_is_well() -> None:
    left = [Leftover(kind="folder", what=f"the folder {n}", owner="process 1", since_s=0.0) for n in range(5)]
    told = leftovers_check(left)
    assert not told.ok and "the folder 2; and 2 more" in told.seen and "--clean" in told.todo
    assert leftovers_check([]).ok and leftovers_check(None).ok
    assert leftovers_check("removed what dead searches had left: 5 folders").ok
    assert not leftovers_check(TimeoutError("no answer in 30 s")).ok


def test_the_store_is_held_against_its_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locations = Locations(home=tmp_path / "home", tracking_uri="")
    monkeypatch.delenv("TUNE_CNN_STORE", raising=False)
    assert store_check(locations).ok
    monkeypatch.setattr("tune_cnn.study.doctoring.here.network_file_system", lambda home: "nfs4")
    on_nfs = store_check(locations)
    assert not on_nfs.ok and "PostgreSQL" in on_nfs.todo


def test_a_storage_is_tried_without_a_cluster_too(tmp_path: Path) -> None:
    """A file is written there, read, and taken away; a file in the place of the folder is a fault."""
    tried = storage_check(str(tmp_path / "checkpoints"))
    assert tried.ok and "written and read" in tried.seen and not list((tmp_path / "checkpoints").iterdir())
    (tmp_path / "file").write_text("")
    wrong = storage_check(str(tmp_path / "file"))
    assert not wrong.ok and wrong.todo


def test_a_head_that_takes_connections_and_says_nothing_is_no_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a stopped GCS does: its system accepts, nobody answers."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # other tests of this process may have joined one
    monkeypatch.setattr("tune_cnn.trials.cluster.address.TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as stopped:
        address = f"127.0.0.1:{stopped.getsockname()[1]}"
        assert "takes connections and does not answer" in str(why_silent(address))
