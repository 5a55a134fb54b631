"""A LightningModule of a user's project is searched, exported and trained by the commands."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from study.commands import points_of, run, run_json

PROJECT = Path(__file__).parents[2] / "users_project"
SPEC = """\
study: module
data: {name: digits, root: ., subset: 600}
model: {name: small_cnn}
training: "lightning:outside.modules:Digits"
metrics: {by_torchmetrics: {unit: "1", direction: max}}
objectives: [by_torchmetrics, train_time_s]
space:
  epochs: 2
  batch_size: [30, 60]
  learning_rate: {low: 0.05, high: 0.3, log: true}
  training.width: [4, 8]
budget: {trials: 3}
resources: {code: [users/project], slots: 1}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("lightning")
    shutil.copytree(PROJECT, place / "users" / "project")
    (place / "module.yaml").write_text(SPEC)
    return place


@pytest.fixture(scope="module")
def searched(folder: Path) -> Any:
    return run_json(folder, "search", "module.yaml")


def test_it_is_searched_by_what_it_logs(folder: Path, searched: Any) -> None:
    """Each trial with the arguments of its configuration; its own metric is an objective."""
    assert searched["state"] == "finished"
    assert searched["trials"] == {"complete": 3, "stopped": 0, "failed": 0, "infeasible": 0}
    points = points_of(folder, "module")
    assert len(points) == 6
    for _, _, metrics in points:
        assert metrics["by_torchmetrics"] == pytest.approx(metrics["accuracy"]) and metrics["train_time_s"] > 0
    document = run_json(folder, "front", "module")
    assert [o["name"] for o in document["objectives"]] == ["by_torchmetrics", "train_time_s"] and document["points"]


def test_a_point_of_its_front_is_trained_again_and_written(folder: Path, searched: Any) -> None:
    """Its weights are the module's own, by its names; its `forward` is what is registered."""
    run(folder, "export", "module", "-o", "best.yaml")
    trained = run_json(folder, "train", "best.yaml", "-o", "model", "--register", "module")
    assert trained["registered"]["uri"] == "models:/module/1"
    weights = load_file(folder / "model" / "model.safetensors")
    assert {"net.0.weight", "head.weight"} <= set(weights)


def test_what_it_would_ignore_is_refused_before_a_trial(folder: Path) -> None:
    """A search over the momentum that the module has set itself."""
    done = run(folder, "search", "module.yaml", "--set", "study=other", "--set", "space.momentum=0.5", code=2)
    assert "space.momentum" in done.stderr and "let it take momentum, or leave it out" in done.stderr
