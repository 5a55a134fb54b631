"""A resumed trial goes on as if it had not been left: its bits, its times, and its own checkpoint alone."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ranks import digits_job, same_bits, train

from tune_cnn.errors import TrialError
from tune_cnn.training.rank import RankTraining


def with_dropout(*, num_classes, in_channels, image_size):
    pixels = in_channels * image_size[0] * image_size[1]
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.2), torch.nn.Linear(pixels, num_classes))


VARIANTS = {
    "one_cycle": {"schedule": "one_cycle", "warmup_epochs": 1.0},
    "step": {"schedule": "step"},
    "plateau": {"schedule": "plateau", "epochs": 4},
    "adamw": {"optimizer": "adamw", "learning_rate": 0.01, "gradient_clip": 1.0},
    "bf16": {"precision": "bf16"},
    "augmented": {"augment": "crop_flip", "label_smoothing": 0.1},
    "in_turn": {"augment": "crop_flip", "flips": "alternating", "shift": 0.2, "shift_fill": "mirror"},
    "own_rates": {"schedule": "triangle", "decoupled": True, "decay_all": True, "norm_lr_ratio": 8.0},
    "channels_last": {"channels_last": True, "model": "resnet20", "batch_size": 256},
    "batched": {"loader": "batched"},
    "stream": {"loader": "stream"},
    "dropout": {"model": f"{__name__}:with_dropout"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_resumed_trial_ends_with_the_same_bits(rank, folder, tmp_path, variant):
    """Interrupted after an epoch and resumed by another rank: weights and results as without the interruption."""
    job = digits_job(folder, **VARIANTS[variant])
    results, expected = train(rank, job)
    job = replace(job, checkpoint_dir=str(tmp_path / "checkpoints"), checkpoint_every_s=1e9)
    rank.begin(job)
    assert rank.train_epoch().checkpoint is None
    path = rank.checkpoint()
    assert path is not None and Path(path).exists()
    other = RankTraining()
    assert other.begin(job) == 1
    last = other.train_epoch()
    while not last.done:
        last = other.train_epoch()
    assert same_bits(other.weights(), expected)
    for name in ("val_loss", "accuracy", "train_loss", "train_gflops"):
        assert last.metrics[name] == results[-1].metrics[name]
    other.end()


def test_times_go_on_over_a_resume(rank, folder, tmp_path):
    """What was spent before counts, the time in between doesn't."""
    job = digits_job(
        folder, epochs=3, loader="batched", job={"checkpoint_dir": str(tmp_path), "checkpoint_every_s": 0.0}
    )
    results, _ = train(rank, job, epochs=2)
    assert results[1].checkpoint is not None and Path(results[1].checkpoint).exists()
    assert rank.begin(job) == 2
    result = rank.train_epoch()
    for name in ("train_time_s", "total_time_s", "eval_time_s", "data_wait_s"):
        assert result.metrics[name] > results[1].metrics[name], name
    assert result.metrics["checkpoint_time_s"] > 0


def test_another_configurations_checkpoint_is_refused(rank, folder, tmp_path):
    """Its weights might even fit."""
    place = {"checkpoint_dir": str(tmp_path), "checkpoint_every_s": 0.0}
    train(rank, digits_job(folder, job=place), epochs=1)
    with pytest.raises(TrialError, match="another configuration"):
        rank.begin(digits_job(folder, job=place, learning_rate=0.04))
