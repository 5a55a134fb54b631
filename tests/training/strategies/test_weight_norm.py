"""Weight normalisation: the filter's direction and length are learned apart, and start from one batch."""

import pytest
import torch
from brisk import job_with
from ranks import train
from torch import nn

from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.strategies.weight_norm import (
    fold,
    length_and_direction,
    parametrizations,
    start_from_batch,
)

BATCH = Batch(torch.rand(64, 1, 8, 8) * 3 + 1, torch.zeros(64, dtype=torch.int64))


@pytest.fixture
def net():
    """Two convolutions, the second without a bias, and a linear layer; normalised, started from BATCH."""
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 5)
    )
    layers = [model[0], model[2], model[5]]
    for layer in layers:
        parametrizations.weight_norm(layer)
    start_from_batch(model, layers, BATCH, torch.Generator().manual_seed(0))
    return model


def outputs_of(model: nn.Module, at: int) -> torch.Tensor:
    with torch.no_grad():
        return model.train()[: at + 1](BATCH.images_nchw)


def test_a_filter_is_its_length_times_its_direction(net):
    """w = g·v/‖v‖ by output filter: scaling v changes nothing, scaling g scales the filter."""
    length, direction = length_and_direction(net[0])
    before = net[0].weight.clone()
    norms = direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert torch.allclose(before, length * direction / norms)
    assert torch.allclose(before.flatten(1).norm(dim=1), length.flatten().abs())
    with torch.no_grad():
        direction.mul_(7.0)
        assert torch.allclose(net[0].weight, before, atol=1e-6)
        length.mul_(3.0)
        assert torch.allclose(net[0].weight, 3 * before, atol=1e-5)


def test_gradients_of_the_direction_are_perpendicular_to_it(net):
    """What makes length and direction learn apart."""
    net(BATCH.images_nchw).square().sum().backward()
    _, direction = length_and_direction(net[0])
    along = (direction.grad * direction).flatten(1).sum(1)
    assert torch.allclose(along, torch.zeros_like(along), atol=1e-3 * float(direction.grad.abs().max()))
    assert direction.grad.abs().max() > 0


def test_every_layer_starts_with_mean_0_and_deviation_1_on_the_batch(net):
    """By g = 1/σ and b = −μ/σ; a layer without a bias keeps its mean."""
    for at, over in ((0, (0, 2, 3)), (5, (0,))):
        outputs = outputs_of(net, at)
        assert torch.allclose(outputs.mean(over), torch.zeros(outputs.shape[1]), atol=1e-4)
        assert torch.allclose(outputs.std(over, correction=0), torch.ones(outputs.shape[1]), atol=1e-4)
    without_bias = outputs_of(net, 2)
    assert torch.allclose(without_bias.std((0, 2, 3), correction=0), torch.ones(4), atol=1e-4)


def test_the_start_draws_directions_and_leaves_running_statistics(net):
    """v ~ N(0, 0.05²); batch norm has seen nothing yet."""
    _, direction = length_and_direction(net[5])
    assert float(direction.detach().std()) == pytest.approx(0.05, rel=0.15)
    assert torch.equal(net[3].running_mean, torch.zeros(4)) and int(net[3].num_batches_tracked) == 0


def test_a_channel_that_never_varies_keeps_a_finite_length():
    """A dead input gives deviation 0."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3))
    parametrizations.weight_norm(model[0])
    start_from_batch(model, [model[0]], Batch(torch.zeros(4, 1, 8, 8), BATCH.labels_n), torch.Generator())
    assert torch.isfinite(model[0].weight).all() and torch.isfinite(model[0].bias).all()


def test_folding_keeps_the_function_and_leaves_plain_layers(net):
    """An export needs no strategy to be loaded."""
    before = net.eval()(BATCH.images_nchw)
    folded = fold(net)
    assert torch.equal(folded(BATCH.images_nchw), before)
    assert set(folded.state_dict()) == {
        "0.weight", "0.bias", "2.weight", "5.weight", "5.bias",
        "3.weight", "3.bias", "3.running_mean", "3.running_var", "3.num_batches_tracked",
    }  # fmt: skip


def test_linear_layers_are_normalised_only_where_asked_for(tmp_path):
    """More parameters while it trains: one length a filter."""
    counts = []
    for linear in (False, True):
        job = job_with(tmp_path, strategies={"weight_norm": True, "weight_norm.include_linear": linear})
        results, _ = train(RankTraining(), job, epochs=1)
        counts.append(results[0].metrics["parameters"])
    assert counts[1] - counts[0] == 10
