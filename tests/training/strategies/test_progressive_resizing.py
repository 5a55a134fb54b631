"""Progressive resizing: the side grows to the full one, early epochs cost less, evaluation is at full side."""

from itertools import pairwise

import pytest
from ranks import digits_job
from torch import nn

from tune_cnn.errors import TrialError
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.progressive_resizing import share_of_side


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (0, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0]),
        (1, [0.5, 0.5, 0.5, 0.5, 0.5, 1.0, 1.0]),
        (2, [0.5, 0.5, 0.5, 0.75, 0.75, 1.0, 1.0]),
        (8, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0]),
    ],
)
def test_the_side_grows_in_steps_or_by_the_epoch(steps, expected):
    """From epoch 5 on it is full; more steps than epochs are one each."""
    assert [share_of_side(epoch, 5, 0.5, steps) for epoch in range(7)] == pytest.approx(expected)


def test_images_are_small_in_training_and_full_in_evaluation_and_cost_as_much(tmp_path):
    """8×8 digits at 4×4, 6×6, then 8×8: the arithmetic of an epoch falls with the area."""
    on = {"progressive_resizing": True, "progressive_resizing.steps": 2}
    rank = RankTraining()
    rank.begin(digits_job(tmp_path, strategies=on, epochs=6, batch_size=180))
    sides: list[tuple[bool, int]] = []
    rank._current.model.register_forward_pre_hook(
        lambda module, args: None if args[0].is_meta else sides.append((module.training, args[0].shape[-1]))
    )
    totals = [0.0]
    while len(totals) < 7:
        totals.append(rank.train_epoch().metrics["train_gflops"])
    rank.end()
    assert [side for training, side in sides if training] == [4] * 6 + [6] * 6 + [8] * 6
    assert {side for training, side in sides if not training} == {8}
    costs = [after - before for before, after in pairwise(totals)]
    assert costs[0] == pytest.approx(costs[-1] * (4 / 8) ** 2, rel=0.01)
    assert costs[2] == pytest.approx(costs[-1] * (6 / 8) ** 2, rel=0.01)


def test_a_side_that_the_model_cannot_take_is_refused_with_the_least(tmp_path):
    """Before it trains, in one line; and so is a side that would be the full one."""
    for model, start, told in (
        (f"{__name__}:deep", 0.5, r"images of 4×4, but the model takes 6×6 at least; raise it to 0\.75"),
        (f"{__name__}:flat", 0.5, "the model takes no images smaller than 8×8"),
        ("small_cnn", 0.95, "leaves 8×8 as it is"),
    ):
        on = {"progressive_resizing": True, "progressive_resizing.start": start}
        with pytest.raises(TrialError, match=f"progressive_resizing: .*{told}"):
            RankTraining().begin(digits_job(tmp_path, model=model, strategies=on, epochs=4))


def deep(*, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> nn.Module:
    """A 3×3 convolution without padding, a halving and another one: 6×6 is the least that leaves a pixel."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 4, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, num_classes),
    )


def flat(*, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size[0] * image_size[1], num_classes))
