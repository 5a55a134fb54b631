"""Optimizers follow the configuration, and decay weights alone."""

import pytest
import torch
from torch import nn

from tune_cnn.errors import TrialError
from tune_cnn.spec import Configuration
from tune_cnn.training.step.optimizers import make_optimizer, parameter_groups


class WithTable(nn.Module):
    """A norm whose weight is two-dimensional, a convolution, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3)
        self.norm = nn.LayerNorm((4, 4))
        self.batch_norm = nn.BatchNorm2d(4)
        self.scale = nn.Parameter(torch.ones(()))
        self.head = nn.Linear(4, 2)


def names(model: nn.Module, group) -> set[str]:
    return {n for n, p in model.named_parameters() if any(p is q for q in group["params"])}


def test_norms_biases_and_scalars_are_not_decayed():
    """Only the weights of convolutions and linear layers are, and each parameter stands in one group."""
    model = WithTable()
    decayed, rest = parameter_groups(model, 0.1)
    assert decayed["weight_decay"] == 0.1 and rest["weight_decay"] == 0.0
    assert names(model, decayed) == {"convolution.weight", "head.weight"}
    assert len(decayed["params"]) + len(rest["params"]) == len(list(model.parameters()))


def test_frozen_parameters_are_left_out():
    """What doesn't learn has no optimizer state either."""
    model = WithTable()
    model.convolution.requires_grad_(False)
    assert "convolution.weight" not in names(model, parameter_groups(model, 0.1)[0])


def test_a_model_that_learns_nothing_is_named():
    """The message says why, instead of torch's 'empty parameter list'."""
    with pytest.raises(TrialError, match="no parameter that learns"):
        make_optimizer(nn.ReLU(), Configuration(), learning_rate=0.1)


def one_step(optimizer_of, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    layer = nn.Linear(3, 2)
    optimizer = optimizer_of(layer)
    for _ in range(3):
        optimizer.zero_grad()
        layer(torch.randn(4, 3)).square().sum().backward()
        optimizer.step()
    return layer.weight.detach()


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_torchs(momentum, nesterov):
    """Momentum and Nesterov reach it; without momentum Nesterov is plain SGD."""
    configuration = Configuration(momentum=momentum, nesterov=nesterov, weight_decay=0.0)
    ours = one_step(lambda layer: make_optimizer(layer, configuration, learning_rate=0.01))
    plain = one_step(
        lambda layer: torch.optim.SGD(
            layer.parameters(), lr=0.01, momentum=momentum, nesterov=nesterov and momentum > 0
        )
    )
    assert torch.allclose(ours, plain, atol=1e-6)


def test_adamw_is_torchs():
    """With weight decay on the weight, not on the bias."""
    configuration = Configuration(optimizer="adamw", weight_decay=0.1)

    def torchs(layer):
        groups = [{"params": [layer.weight], "weight_decay": 0.1}, {"params": [layer.bias], "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=0.01)

    ours = one_step(lambda layer: make_optimizer(layer, configuration, learning_rate=0.01))
    assert torch.allclose(ours, one_step(torchs), atol=1e-6)
