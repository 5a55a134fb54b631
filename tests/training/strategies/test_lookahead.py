"""Lookahead: slow weights follow the fast ones by the paper's equation, and are what is left at the end."""

import pytest
import torch
from ranks import digits_job
from torch import nn

from tune_cnn.training.strategies.lookahead import look


def test_a_look_is_the_papers():
    """slow ← slow + α(fast − slow), fast ← slow, with α = 1 − keep; both in place."""
    slow, fast = {"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([5.0, 2.0]), "new": torch.tensor(7.0)}
    places = slow["w"].data_ptr(), fast["w"].data_ptr()
    look(slow, fast, keep=0.75)
    assert slow["w"].tolist() == fast["w"].tolist() == [2.0, 2.0] and fast["new"] == 7.0
    assert (slow["w"].data_ptr(), fast["w"].data_ptr()) == places
    fast["w"].fill_(9.0)
    look(slow, fast, keep=1.0)
    assert fast["w"].tolist() == [2.0, 2.0]


def linear(*, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size[0] * image_size[1], num_classes))


@pytest.mark.parametrize("growth", [0.0, 3.0])
def test_training_looks_every_few_steps_and_ends_with_the_slow_weights(rank, tmp_path, monkeypatch, growth):
    """In three epochs it looks at every fifth step, keeps more as the horizon runs out, and looks at the end."""
    kept: list[float] = []

    def noted(slow, fast, *, keep):
        kept.append(keep)
        look(slow, fast, keep=keep)

    monkeypatch.setattr("tune_cnn.training.strategies.lookahead.look", noted)
    knobs = {"lookahead": True, "lookahead.every": 5, "lookahead.keep": 0.8, "lookahead.growth": growth}
    rank.begin(digits_job(tmp_path, model=f"{__name__}:linear", strategies=knobs, epochs=3, batch_size=180))
    rank.train_epoch()
    steps = rank._current._training._steps * 3
    while not rank.train_epoch().done:
        pass
    looks = [0.8 * (step / steps) ** growth for step in range(5, steps + 1, 5)]
    assert kept == pytest.approx([1.0, *looks, 1.0])
    strategy = rank._current._training._run.strategies["lookahead"]
    for name, value in rank._current.model.state_dict().items():
        assert torch.equal(value, strategy._slow[name])
