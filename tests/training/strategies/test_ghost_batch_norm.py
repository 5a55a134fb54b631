"""Ghost statistics against plain batch norm on the parts."""

import copy

import pytest
import torch
from torch import nn

from tune_cnn.training.strategies.ghost_batch_norm import Ghost, as_ghost, with_ghosts


@pytest.fixture
def norms():
    """A plain layer that has seen something, and its ghost with a state of its own."""
    plain = nn.BatchNorm2d(3)
    plain(torch.randn(8, 3, 2, 2) * 2 + 1)
    with torch.no_grad():
        plain.weight.uniform_(0.5, 2)
        plain.bias.uniform_(-1, 1)
    return plain, as_ghost(copy.deepcopy(plain), 16)


def test_each_part_is_normalised_by_its_own_statistics(norms):
    """Output and running statistics are plain batch norm's, fed with one part after the other."""
    plain, ghost = norms
    images = torch.randn(64, 3, 4, 4) * torch.linspace(1, 5, 64).view(-1, 1, 1, 1)
    got = ghost(images)
    expected = torch.cat([plain(part) for part in images.split(16)])
    assert torch.equal(got, expected)
    assert torch.equal(ghost.running_mean, plain.running_mean) and torch.equal(ghost.running_var, plain.running_var)
    assert int(ghost.num_batches_tracked) == int(plain.num_batches_tracked)
    assert not torch.allclose(got, copy.deepcopy(plain)(images))


def test_the_running_mean_is_the_papers():
    """μ_run ← (1 − η)^n μ_run + Σ η (1 − η)^(n−i) μ_i over the n parts, by hand."""
    ghost = as_ghost(nn.BatchNorm1d(1), 10)
    values = torch.randn(30, 1)
    ghost(values)
    momentum, expected = 0.1, 0.0
    for part in values.split(10):
        expected = (1 - momentum) * expected + momentum * float(part.mean())
    assert float(ghost.running_mean) == pytest.approx(expected, rel=1e-5)


def test_gradients_are_those_of_the_parts(norms):
    """No gradient flows from one part's statistics into another part."""
    plain, ghost = norms
    images = torch.randn(32, 3, 4, 4)
    weights = torch.randn(32, 3, 4, 4)
    ours, theirs = images.clone().requires_grad_(), images.clone().requires_grad_()
    (ghost(ours) * weights).sum().backward()
    (torch.cat([plain(part) for part in theirs.split(16)]) * weights).sum().backward()
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-6)
    assert torch.allclose(ghost.weight.grad, plain.weight.grad, atol=1e-5)


@pytest.mark.parametrize(("images", "parts"), [(40, [20, 20]), (33, [17, 16]), (16, [16]), (9, [9])])
def test_a_batch_that_does_not_divide_has_parts_of_at_least_the_size(norms, images, parts):
    """An epoch's last batch: equal parts of 16 or more images, or the whole where there are fewer."""
    plain, ghost = norms
    batch = torch.randn(images, 3, 2, 2)
    assert torch.equal(ghost(batch), torch.cat([plain(part) for part in batch.split(parts)]))


@pytest.mark.parametrize(
    "settings", [{"momentum": None}, {"momentum": 0.3, "affine": False}, {"track_running_stats": False}]
)
def test_it_keeps_what_the_plain_layer_was_told(settings):
    """A plain mean over all batches, no weights, or no running statistics: as plain batch norm on part after part."""
    plain = nn.BatchNorm2d(3, eps=0.1, **settings)
    ghost = as_ghost(copy.deepcopy(plain), 16)
    for _ in range(2):
        images = torch.randn(33, 3, 4, 4)
        assert torch.equal(ghost(images), torch.cat([plain(part) for part in images.split([17, 16])]))
    for name, buffer in plain.named_buffers():
        assert torch.equal(ghost.get_buffer(name), buffer), name


def test_evaluation_uses_the_running_statistics(norms):
    """As ever."""
    plain, ghost = norms
    batch = torch.randn(64, 3, 2, 2)
    assert torch.equal(ghost.eval()(batch), plain.eval()(batch))


def test_ghosts_share_the_layers_parameters_and_names():
    """So that an optimizer goes on with them, and an export loads into a plain model."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Sequential(nn.BatchNorm2d(2, affine=False)))
    parameters, names = list(model.parameters()), list(model.state_dict())
    assert with_ghosts(model, 4) == 2
    assert all(one is other for one, other in zip(model.parameters(), parameters, strict=True))
    assert list(model.state_dict()) == names
    assert isinstance(model[1], Ghost) and isinstance(model[2][0], Ghost) and isinstance(model[1], nn.BatchNorm2d)
