"""A plain script and one by accelerate, from a user's project outside the repository, through the generator."""

import sys
from pathlib import Path

import pytest
import torch
from ranks import digits_job, same_bits, train

from tune_cnn.training.messages import TrainingJob
from tune_cnn.training.rank import RankTraining

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")  # that the script by accelerate sets


@pytest.fixture(autouse=True)
def as_before(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # to be unset again, whoever sets it
        monkeypatch.delenv(name)


def script_job(folder: Path, name: str, job=None) -> TrainingJob:
    fields = {"training": f"outside.scripts:{name}"} | (job or {})
    return digits_job(folder, job=fields, epochs=3, batch_size=60, learning_rate=0.1, training={"width": 6})


@pytest.mark.parametrize("name", ["plain", "accelerated"])
def test_it_trains_and_resumes_to_the_same_bits(tmp_path, name):
    """Its model is tested and its weights are known."""
    results, expected = train(RankTraining(), script_job(tmp_path, name))
    assert results[-1].metrics["accuracy"] > 0.5 and results[-1].metrics["images_per_s"] > 0
    kept = {"checkpoint_dir": str(tmp_path / "kept"), "checkpoint_every_s": 0.0}
    train(RankTraining(), script_job(tmp_path, name, job=kept), epochs=2)
    rank = RankTraining()
    assert rank.begin(script_job(tmp_path, name, job=kept)) == 2
    assert rank.train_epoch().done and same_bits(rank.weights(), expected)
    assert rank.test()["test_accuracy"] > 0.5
    rank.end()


def on_two(number: int, folder: str, address: str, job: TrainingJob) -> object:
    sys.path.insert(0, folder)
    rank = RankTraining(number)
    rank.join(ranks=2, init_method=address, cuda=False, timeout_s=60)
    rank.begin(job)
    results = [rank.train_epoch().metrics for _ in range(3)]
    weights = {name: tensor.numpy() for name, tensor in rank.weights().items()}
    rank.end()
    rank.join(ranks=1, init_method="", cuda=False)
    return results, weights


def test_accelerate_takes_our_ranks_as_its_own(two_processes, project, tmp_path):
    """It averages their gradients: the same weights on both, and one rank's but for rounding."""
    _, alone = train(RankTraining(), script_job(tmp_path, "accelerated"))
    job = script_job(tmp_path, "accelerated", job={"ranks": 2})
    (metrics, weights), (others, other_weights) = two_processes.call(on_two, str(project), two_processes.address(), job)
    assert metrics == others and metrics[-1]["accuracy"] > 0.5
    assert all((weights[name] == other_weights[name]).all() for name in weights)
    for name, tensor in alone.items():
        assert torch.allclose(torch.from_numpy(weights[name]), tensor, rtol=1e-3, atol=1e-4)
