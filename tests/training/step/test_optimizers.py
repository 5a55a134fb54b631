"""Optimizers follow the configuration, and decay weights alone."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tune_cnn.errors import TrialError
from tune_cnn.spec import Configuration
from tune_cnn.training.step.optimizers.groups import parameter_groups, set_learning_rate
from tune_cnn.training.step.optimizers.making import make_optimizer
from tune_cnn.training.step.schedules import scaled_learning_rate


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


@pytest.mark.parametrize("decay_all", [False, True])
def test_norms_may_learn_at_a_rate_of_their_own(decay_all):
    """It follows the schedule; weights, biases and scalars keep theirs. Decay, where asked for, is the same for all."""
    model = WithTable()
    configuration = Configuration(norm_lr_ratio=64.0, decay_all=decay_all, weight_decay=0.1)
    optimizer = make_optimizer(model, configuration, learning_rate=0.5)
    for rate in (0.5, 0.25):
        set_learning_rate(optimizer, rate)
        weights, norms, vectors = optimizer.param_groups
        assert names(model, weights) == {"convolution.weight", "head.weight"} and weights["lr"] == rate
        assert names(model, norms) == {"norm.weight", "norm.bias", "batch_norm.weight", "batch_norm.bias"}
        assert names(model, vectors) == {"convolution.bias", "head.bias", "scale"} and vectors["lr"] == rate
        assert norms["lr"] == 64 * rate
        shares = [group["lr"] * group["weight_decay"] for group in (weights, norms, vectors)]
        assert shares == pytest.approx([rate * 0.1] * 3 if decay_all else [rate * 0.1, 0.0, 0.0])


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.85])
@pytest.mark.parametrize("rate", [0.01, 0.04])
def test_decoupled_rate_and_decay_say_what_a_step_does(rate, momentum, nesterov):
    """Under a steady gradient it moves weights by the rate; alone the decay takes its share, whatever the rate."""
    configuration = Configuration(
        decoupled=True, learning_rate=rate, momentum=momentum, nesterov=nesterov, weight_decay=0.001
    )
    for gradient, expected in ((1.0, rate), (0.0, 0.001)):
        layer = nn.Linear(1, 1, bias=False)
        nn.init.constant_(layer.weight, 1.0 if gradient == 0 else 0.0)
        still = configuration if gradient == 0 else configuration.model_copy(update={"weight_decay": 0.0})
        optimizer = make_optimizer(layer, still, learning_rate=scaled_learning_rate(still))
        for _ in range(100):
            before = layer.weight.item()
            layer.weight.grad = torch.full_like(layer.weight, gradient)
            optimizer.step()
        step = before - layer.weight.item()
        assert step / (1.0 if gradient else before) == pytest.approx(expected, rel=0.02)


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


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_first_step_that_loss_scaling_skips_leaves_nothing_behind(optimizer):
    """The next step is then the first one. torch's fused SGD would go on from memory that it never wrote."""
    images, labels = torch.randn(8, 3), torch.randint(2, (8,))

    def trained(*overflows: bool) -> torch.Tensor:
        torch.manual_seed(0)
        layer = nn.Linear(3, 2)
        made = make_optimizer(layer, Configuration(optimizer=optimizer), learning_rate=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        for overflow in overflows:
            made.zero_grad()
            scaler.scale(F.cross_entropy(layer(images * (torch.inf if overflow else 1)), labels)).backward()
            scaler.step(made)
            scaler.update(1024.0)
        return layer.weight.detach()

    torch.empty(2**16).fill_(torch.nan)  # what uninitialised memory may hold
    assert torch.equal(trained(True, False, False), trained(False, False))


def test_every_parameter_has_its_state_before_the_first_step():
    """All zero, in the parameter's memory format: a step that is captured must not make it."""
    layer = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    for optimizer in ("sgd", "adamw"):
        made = make_optimizer(layer, Configuration(optimizer=optimizer), learning_rate=0.1)
        for parameter in layer.parameters():
            state = made.state[parameter]
            assert state and not any(value.any() for value in state.values())
            assert all(value.stride() == parameter.stride() for value in state.values() if value.ndim)


def test_a_rate_is_one_that_float32_holds():
    """So a step that reads it from a tensor computes with the same one."""
    layer = nn.Linear(3, 2)
    made = make_optimizer(layer, Configuration(), learning_rate=1.0)
    set_learning_rate(made, 0.1)
    assert made.param_groups[0]["lr"] == torch.tensor(0.1).item() != 0.1
    for group in made.param_groups:
        group["lr"] = torch.zeros(())
    set_learning_rate(made, 0.1)
    assert all(group["lr"].item() == torch.tensor(0.1).item() for group in made.param_groups)
