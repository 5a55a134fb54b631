"""EfficientTrain: what a smaller image keeps is the low frequencies exactly; side and augmentation grow."""

import math

import pytest
import torch
from ranks import digits_job
from torch import Tensor

from tune_cnn.errors import TrialError
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.efficient_train import augmented, low_frequencies, share_of_side


def wave(side: int, rows: int, columns: int) -> Tensor:
    """A cosine of so many periods along each axis."""
    turns = torch.arange(side) / side
    return torch.cos(2 * math.pi * (rows * turns[:, None] + columns * turns[None, :]) + 0.3)[None, None]


@pytest.mark.parametrize(("full", "small"), [(16, 8), (15, 9), (28, 20), (28, 21), (17, 8)])
def test_low_frequencies_are_kept_exactly_and_others_vanish(full, small):
    """A wave under half of the small side comes out as the same wave, sampled there; one above leaves nothing."""
    kept = low_frequencies(wave(full, 2, 3) + 0.7, (small, small))
    assert torch.allclose(kept, wave(small, 2, 3) + 0.7, atol=1e-5)
    gone = low_frequencies(wave(full, small // 2 + 1, 0), (small, small))
    assert gone.abs().max() < 1e-5


def test_a_full_side_is_the_image_itself_and_the_layout_stays():
    images_nchw = torch.randn(2, 3, 8, 8)
    assert low_frequencies(images_nchw, (8, 8)) is images_nchw
    last = low_frequencies(images_nchw.contiguous(memory_format=torch.channels_last), (4, 4))
    assert last.is_contiguous(memory_format=torch.channels_last)


def test_the_side_has_the_published_stages():
    """300 epochs: 160 pixels for 180 of them, 192 for 60, 224 for 60; short trainings have at least the ends."""
    sides = [round(224 * share_of_side(epoch, 300, 160 / 224)) for epoch in range(300)]
    assert [sides.count(side) for side in (160, 192, 224)] == [180, 60, 60]
    for epochs in (2, 3, 5):
        shares = [share_of_side(epoch, epochs, 0.5) for epoch in range(epochs)]
        assert shares == sorted(shares) and (shares[0], shares[-1]) == (0.5, 1.0)


def test_augmentation_is_each_images_own_and_grows_with_its_magnitude():
    """At 0 nothing is done; a shift by its draw is a shift; what is normalised stays in the range of pixels."""
    torch.manual_seed(0)
    images_nchw = (torch.rand(64, 1, 8, 8) - 0.5) / 0.25
    facts = {"mean": (0.5,), "std": (0.25,)}
    draws = torch.rand(64, 2, 2)
    assert torch.allclose(augmented(images_nchw, draws, 0.0, **facts), images_nchw, atol=1e-5)
    changes = [(augmented(images_nchw, draws, m, **facts) - images_nchw).abs().mean() for m in (0.1, 0.4, 0.9)]
    assert 0 < changes[0] < changes[1] < changes[2]
    strongest = augmented(images_nchw, draws, 1.0, **facts)
    assert strongest.min() >= -2 - 1e-5 and strongest.max() <= 2 + 1e-5
    shift = torch.tensor([[[3.5 / 7, 0.9], [5.5 / 7, 0.9]]])  # along the rows, and brighter
    moved = augmented(images_nchw[:1], shift, 1 / 3.6, **facts)  # 0.125 of the side: a pixel
    shown = ((images_nchw[:1, :, :, 1:] * 0.25 + 0.5) * (1 + 0.9 / 3.6)).clamp(0, 1)
    assert torch.allclose(moved[..., :-1] * 0.25 + 0.5, shown, atol=1e-4)


def test_a_training_sees_small_images_first(tmp_path):
    rank = RankTraining()
    rank.begin(digits_job(tmp_path, strategies={"efficient_train": True}, epochs=5, batch_size=540))
    sides: list[int] = []
    rank._current.model.register_forward_pre_hook(
        lambda module, args: sides.append(args[0].shape[-1]) if module.training and not args[0].is_meta else None
    )
    while not rank.train_epoch().done:
        pass
    rank.end()
    assert sides == [6, 6, 6, 7, 8]
    on = {"efficient_train": True, "efficient_train.start": 0.95}
    with pytest.raises(TrialError, match="efficient_train: start leaves 8×8 as it is"):
        RankTraining().begin(digits_job(tmp_path, strategies=on, epochs=5))
