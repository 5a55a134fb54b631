"""A search over what is done for unequal classes, from `data` to the exported configuration, as a user types it."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.datasets import load_digits

from study.commands import points_of, run, run_json

SPEC = """\
study: unequal
data: {name: 'npz:set.npz', root: .}
model: {name: small_cnn}
space:
  epochs: 2
  batch_size: 32
  model.width: 4
budget: {trials: 6}
sampler: random
stopper: none
"""
COUNTS = (160, 40, 20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three of the digits, eight times as many of the first as of the last."""
    digits = load_digits()
    chosen = np.concatenate([np.flatnonzero(digits.target == k)[:count] for k, count in enumerate(COUNTS)])
    np.savez(tmp_path / "set.npz", images=(digits.images[chosen] * 15).astype(np.uint8), labels=digits.target[chosen])
    return tmp_path


def test_what_data_advises_is_searched_and_exported(folder: Path) -> None:
    """Pasted as it stands; every trial tells its balanced accuracy, and has just the keys that mean something."""
    (folder / "study.yaml").write_text(SPEC)
    advised = yaml.safe_load(run_json(folder, "data", "study.yaml")["imbalance"]["spec"])
    whole = yaml.safe_load(SPEC)
    whole["objectives"] = advised["objectives"]
    whole["space"] |= {**advised["space"], "class_weights_beta": [0.9, 0.999]}
    (folder / "study.yaml").write_text(yaml.safe_dump(whole))
    searched = run_json(folder, "search", "study.yaml")
    assert searched["trials"]["complete"] == 6, searched
    points = points_of(folder, "unequal")
    assert len(points) == 12
    assert all(0 <= metrics["balanced_accuracy"] <= 1 for _, _, metrics in points)
    assert any(metrics["balanced_accuracy"] != metrics["accuracy"] for _, _, metrics in points)
    document = run_json(folder, "front", "unequal")
    assert [one["name"] for one in document["objectives"]] == ["balanced_accuracy", "train_time_s"]
    run(folder, "export", "unequal", "-o", "best.yaml")
    space = yaml.safe_load((folder / "best.yaml").read_text())["config"]["space"]
    assert space["class_sampling"] in ("random", "balanced")
    assert ("class_weights" in space) == (space["class_sampling"] == "random")
    assert ("class_weights_beta" in space) == (space.get("class_weights") == "effective")
    trained = run_json(folder, "train", "best.yaml")
    assert 0 <= trained["achieved"]["accuracy"] <= 1


def test_too_many_frozen_stages_end_the_command_before_a_trial(folder: Path) -> None:
    """Once, as the user's mistake, with the number that the model has."""
    (folder / "study.yaml").write_text(SPEC.replace("epochs: 2", "frozen_stages: [0, 9]"))
    said = run(folder, "search", "study.yaml", code=2).stderr
    assert said.count("space.frozen_stages: model 'small_cnn' with width=4 has 3 stages before") == 1
    assert "freeze 3 at most" in said and "Traceback" not in said
