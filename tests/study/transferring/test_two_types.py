"""A real cluster of two types of accelerator, declared on nodes of CPUs: search, look, transfer, confirm there."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.cluster
SPEC = {
    "data": {"name": "digits"},
    "model": {"name": "small_cnn"},
    "space": {"epochs": 2, "batch_size": [64, 128], "learning_rate": 0.1},
    "resources": {"gpus_per_rank": 0},
    "stopper": "none",
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A head without room for trials, a node of type A and one of type B."""
    from ray.cluster_utils import Cluster

    before, began_in = os.environ.get("RAY_AUTH_MODE"), Path.cwd()
    os.environ["RAY_AUTH_MODE"] = "disabled"
    os.chdir(tmp_path_factory.mktemp("head"))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for name in ("A", "B"):
            cluster.add_node(num_cpus=1, resources={f"accelerator_type:{name}": 1})
        cluster.wait_for_nodes()
        yield cluster.address
    finally:
        os.chdir(began_in)
        cluster.shutdown()
        if before is None:
            del os.environ["RAY_AUTH_MODE"]
        else:
            os.environ["RAY_AUTH_MODE"] = before


def tune_cnn(folder: Path, *words: str) -> Any:
    """The JSON document of a command, run as a user would."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "RAY_", "TUNE_CNN_"))}
    ended = subprocess.run(
        [sys.executable, "-m", "tune_cnn", *words, "--json"],
        cwd=folder,
        env={**kept, "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1", "TUNE_CNN_DELIVER_MIN": "0"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return json.loads(ended.stdout)


def test_a_front_on_two_types_and_carried_from_one_to_the_other(address: str, tmp_path: Path) -> None:
    """Phases of one study, each trial on its type; a study of one type predicted for the other, and confirmed there."""
    for name, types, trials in (("both", ["A", "B"], 2), ("one", "A", 2)):
        spec = {**SPEC, "study": name, "budget": {"trials": trials}}
        spec["resources"] = {"gpus_per_rank": 0, "accelerator": types}
        (tmp_path / f"{name}.yaml").write_text(json.dumps(spec))
    there = ("--address", address)

    tune_cnn(tmp_path, "search", "both.yaml", *there)
    fronts = {name: tune_cnn(tmp_path, "front", "both", "--accelerator", name)["points"] for name in ("A", "B")}
    assert {row["accelerator"] for row in fronts["A"]} == {"A"}
    assert {row["accelerator"] for row in fronts["B"]} == {"B"}
    assert {row["trial"] for row in fronts["A"]} == {0}

    tune_cnn(tmp_path, "search", "one.yaml", *there)
    carried = tune_cnn(tmp_path, "transfer", "one", "--accelerator", "B", "--probes", "2", *there)
    assert (carried["study"], carried["from"], carried["to"]) == ("one", "A", "B")
    assert any(row["on_front"] for row in carried["points"])
    for row in carried["points"]:
        time_s = row["predicted"]["train_time_s"]
        assert 0 < time_s["low"] < time_s["value"] < time_s["high"]
        assert 0 <= row["accuracy"]["value"] <= 1

    confirmed = tune_cnn(tmp_path, "confirm", "one", "--accelerator", "B", "--points", "1", "--seeds", "1", *there)
    (one,) = confirmed["confirmed"]
    assert (one["trial"], one["epoch"]) in {(r["trial"], r["epoch"]) for r in carried["points"] if r["on_front"]}
    shown = tune_cnn(tmp_path, "front", "one", "--accelerator", "B")
    assert [row["accelerator"] for row in shown["points"]] == ["B"] * sum(r["on_front"] for r in carried["points"])
    assert shown["confirmed"] == confirmed["confirmed"]
    assert tune_cnn(tmp_path, "front", "one")["confirmed"] == []  # where it was searched, nothing is
