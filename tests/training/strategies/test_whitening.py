"""Whitening: the first layer's outputs are uncorrelated, its filters stand still, its bias learns for a while."""

from dataclasses import replace

import pytest
import torch
from ranks import digits_job, same_bits, train
from torch import nn
from torch.nn import functional as F

from tune_cnn.errors import StrategyError
from tune_cnn.training.messages import TrainingJob
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.whitening import covariance, first_layer, whitening_filters

EPS = 1e-6


def job_of(folder, model: str = "with_bias", **knobs: float) -> TrainingJob:
    strategies = {"whitening": True, "whitening.eps": EPS, **{f"whitening.{key}": knobs[key] for key in knobs}}
    name = model if model == "small_cnn" else f"{__name__}:{model}"
    return digits_job(folder, model=name, strategies=strategies, epochs=4, batch_size=200, augment="none")


def with_bias(*, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 2), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 9, num_classes)
    )


def too_wide(*, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> nn.Module:
    return nn.Sequential(nn.Conv2d(in_channels, 9, 2), nn.Flatten(), nn.Linear(9 * 49, num_classes))


def correlated(patches: int, values: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    mixing = torch.randn(values, values, generator=random, dtype=torch.float64)
    return torch.randn(patches, values, generator=random, dtype=torch.float64) @ mixing + 3.0


def test_whitened_values_have_the_identity_as_covariance():
    """All directions of 12 values, each with its opposite: 24 filters."""
    values = correlated(5000, 12)
    filters = whitening_filters(covariance([values[:1234], values[1234:]]), 24, eps=0.0).double()
    assert filters.shape == (24, 12)
    assert torch.equal(filters[1::2], -filters[::2])
    assert torch.allclose((values @ filters[::2].T).T.cov(correction=0), torch.eye(12).double(), atol=1e-4)


def test_fewer_filters_take_the_directions_that_vary_most():
    """And what hardly varies is held small by eps: λ / (λ + eps) is what stays of its variance."""
    values = torch.diag(torch.tensor([4.0, 1.0, 0.0], dtype=torch.float64))
    filters = whitening_filters(values, 4, eps=1.0).double()
    expected = torch.tensor([[5**-0.5, 0, 0]] * 2 + [[0, 2**-0.5, 0]] * 2)
    assert torch.allclose(filters.abs(), expected.double(), atol=1e-6)
    whole = whitening_filters(values, 6, eps=1.0).double()
    assert (whole @ values @ whole.T).diag()[::2].tolist() == pytest.approx([0.8, 0.5, 0.0])


def test_on_images_the_first_layers_outputs_are_uncorrelated_and_its_filters_never_learn(rank, tmp_path):
    """Over all patches of the training images; along what never varies in them, all is zero."""
    rank.begin(job_of(tmp_path))
    rank.train_epoch()
    trial = rank._current
    layer = trial.model[0]
    set_once = layer.weight.clone()
    images = trial._training._run.plain_batch(torch.arange(len(trial.context.images.train)).numpy()).images_nchw
    with torch.no_grad():
        maps = F.conv2d(images, layer.weight[::2])
    found = maps.double().transpose(0, 1).flatten(1).cov()
    assert torch.allclose(found, torch.eye(4).double(), atol=0.02)
    while not rank.train_epoch().done:
        pass
    assert torch.equal(layer.weight, set_once)


@pytest.mark.parametrize(("bias_until", "learns_in"), [(0.0, []), (0.5, [0, 1]), (1.0, [0, 1, 2, 3])])
def test_the_bias_learns_for_its_share_of_the_epochs(rank, tmp_path, bias_until, learns_in):
    """From then on no gradient is computed for the layer at all, and the others keep their momentum."""
    rank.begin(job_of(tmp_path, bias_until=bias_until))
    layer, head, moved = rank._current.model[0], rank._current.model[-1], []
    for epoch in range(4):
        before = layer.bias.clone()
        rank.train_epoch()
        if not torch.equal(layer.bias, before):
            moved.append(epoch)
        assert layer.bias.requires_grad == (epoch in learns_in)
        momentum = rank._current._training._train_state.optimizer.state[head.weight]["momentum_buffer"]
        assert momentum.abs().max() > 0
    assert moved == learns_in


@pytest.mark.parametrize("epochs_before", [1, 2, 3])
def test_a_trial_goes_on_before_at_and_after_the_bias_is_held(rank, tmp_path, epochs_before):
    """In the same bits as without the break."""
    job = job_of(tmp_path, bias_until=0.5)
    _, whole = train(rank, job)
    kept = replace(job, checkpoint_dir=str(tmp_path / "checkpoints"), checkpoint_every_s=0.0)
    train(rank, kept, epochs=epochs_before)
    assert same_bits(train(RankTraining(), kept)[1], whole)


def test_a_layer_that_patches_can_not_fill_is_refused(rank, tmp_path):
    """Four values have eight filters, not nine; and a net must begin with a convolution over the images."""
    with pytest.raises(StrategyError, match="patches of 4 values give 8 filters at most, but the first layer has 9"):
        rank.begin(job_of(tmp_path, "too_wide"))
    with pytest.raises(StrategyError, match="no plain Conv2d over the images' 3 channels"):
        first_layer(nn.Sequential(nn.Conv2d(3, 6, 3, groups=3)), 3)
