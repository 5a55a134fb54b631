"""The warm-up takes whole steps on a copy, of every size that comes, and leaves the training as it was."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ranks import digits_job, same_bits, train
from torch import nn

from tune_cnn.training.rank import RankTraining
from tune_cnn.training.step import warm_up as warming
from tune_cnn.training.step.warm_up import PASSES, warm_up


@pytest.mark.parametrize("settings", [{}, {"channels_last": True, "optimizer": "adamw", "gradient_clip": 1.0}])
def test_a_warmed_up_training_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    """Model, optimizer, loader and the order of images are as without it."""
    rank = RankTraining()
    job = digits_job(tmp_path, augment="crop_flip", **settings)
    _, cold = train(rank, job)
    monkeypatch.setattr("tune_cnn.training.supervised.needs_warm_up", lambda context: True)
    results, warm = train(rank, job)
    assert same_bits(cold, warm)
    assert results[-1].metrics["compile_time_s"] > 0


@pytest.mark.parametrize("batch_size", [64, 77])  # of 540 images: 28 are left; one is left, and joins
@pytest.mark.parametrize("loader", ["device", "batched", "stream"])
def test_it_steps_on_what_the_loader_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loader: str, batch_size: int
) -> None:
    """Sizes and strides of the real batches, the odd last one among them: else code is compiled for others."""
    stepped: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    real = warming.train_step

    def noting(state: Any, hooks: Any, batch: Any) -> None:
        stepped.append((tuple(batch.images_nchw.shape), batch.images_nchw.stride()))
        real(state, hooks, batch)

    monkeypatch.setattr(warming, "train_step", noting)
    monkeypatch.setattr("tune_cnn.training.supervised.needs_warm_up", lambda context: True)
    rank = RankTraining()
    rank.begin(digits_job(tmp_path, loader=loader, channels_last=True, batch_size=batch_size))
    training: Any = rank._current._training
    real_ones = {(tuple(b.images_nchw.shape), b.images_nchw.stride()) for b in training._loader.epoch(0)}
    rank.end()
    assert set(stepped) == real_ones and len(real_ones) == 2
    assert len(stepped) == 2 * PASSES + 1  # and one more, which is watched


class Draws(nn.Module):
    """Leaves out what a generator of the CPU says."""

    def __init__(self, draw: Any) -> None:
        super().__init__()
        self.layer, self.draw = nn.Linear(64, 10), draw

    def forward(self, images_nchw: torch.Tensor) -> torch.Tensor:
        self.draw()
        logits: torch.Tensor = self.layer(images_nchw.flatten(1))
        return logits


@pytest.mark.parametrize(
    ("draw", "draws"),
    [
        (lambda: random.random(), True),
        (lambda: np.random.rand(), True),
        (lambda: torch.rand(()), True),
        (lambda: torch.rand((), generator=torch.Generator()), False),
        (lambda: None, False),
    ],
)
def test_draws_on_the_cpu_are_seen(tmp_path: Path, draw: Any, draws: bool) -> None:
    """Whichever global generator it is: a recorded step would repeat the one draw for ever."""
    rank = RankTraining()
    rank.begin(digits_job(tmp_path))
    training: Any = rank._current._training
    warm_up(Draws(draw), rank._current.context, training._batches_of_each_size(), some_unused=False)
    assert rank._current.context.seen.draws_on_host == draws
    rank.end()


@pytest.mark.parametrize(
    ("usual", "usual_mib", "room_mib", "images"),
    [(64, 4, 64, 1024), (64, 4, 20, 256), (64, 4, 3, 64), (600, 4, 64, 600), (2, 0, 64, 1024), (48, 1, 1000, 768)],
)
def test_an_evaluation_takes_the_images_that_there_is_room_for(
    usual: int, usual_mib: int, room_mib: int, images: int
) -> None:
    """Never fewer than usual, and no more than gain anything."""
    assert warming.fitting_images(usual, usual_mib * 2**20, room_mib * 2**20) == images
