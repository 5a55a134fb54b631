"""What every optimizer must hold, whichever it is: the same tests for all, and for one of the user's own."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import Processes, digits_job, kept, leave_at, same_bits, train
from torch import nn
from torch.optim import Optimizer

from tune_cnn.spec import Configuration
from tune_cnn.spec.optimizers import OPTIMIZERS, SCHEDULE_FREE
from tune_cnn.training.messages import LeftEpoch
from tune_cnn.training.models.small_cnn import small_cnn
from tune_cnn.training.rank import RankTraining
from tune_cnn.training.step.optimizers.groups import set_learning_rate
from tune_cnn.training.step.optimizers.making import make_optimizer

OWN = f"{__name__}:SignDescent"
RATES = {
    "sgd": 0.1,
    "adamw": 0.02,
    "muon": 0.03,
    "sam": 0.1,
    "lamb": 0.03,
    "lars": 10.0,
    "schedule_free_sgd": 1.0,
    "schedule_free_adamw": 0.02,
    OWN: 0.005,
}
NAMES = [*OPTIMIZERS, OWN]
every = pytest.mark.parametrize("name", NAMES)


class SignDescent(Optimizer):
    """As a user would write it."""

    def __init__(self, groups: Iterable[Any], lr: float, weight_decay: float) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # none is given
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                mean = state.setdefault("mean", torch.zeros_like(parameter)).lerp_(parameter.grad, 0.1)
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(mean.sign(), alpha=group["lr"])


def settings(name: str) -> dict[str, Any]:
    whole = {"optimizer": name, "learning_rate": RATES[name], "epochs": 3, "batch_size": 32}
    return whole if name in SCHEDULE_FREE else {**whole, "schedule": "one_cycle"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("optimizers")


@every
def test_it_learns_digits_and_a_resumed_trial_ends_with_the_same_bits(name, folder, tmp_path):
    """Left within an epoch, it goes on in another process's object: state, rates and weights are whole."""
    job = digits_job(folder, **settings(name), job=kept(tmp_path))
    results, weights = train(RankTraining(), replace(job, checkpoint_dir=None))
    assert results[-1].metrics["accuracy"] > 0.75
    first, second = RankTraining(), RankTraining()
    first.begin(job)
    first.train_epoch()
    leave_at(first, 4)
    assert isinstance(first.train_epoch(), LeftEpoch)
    first.end()
    again, same_weights = train(second, job, epochs=2)
    assert again[-1].done and same_bits(same_weights, weights)
    assert again[-1].metrics["accuracy"] == results[-1].metrics["accuracy"]


def one_of_two(number: int, address: str, jobs: list[Any]) -> list[tuple[float, dict[str, Any]]]:
    rank = RankTraining(number)
    rank.join(ranks=2, init_method=address, cuda=False, timeout_s=600)
    trained = [train(rank, job) for job in jobs]
    rank.end()
    rank.join(ranks=1, init_method="", cuda=False)
    plain = [{name: tensor.numpy() for name, tensor in weights.items()} for _, weights in trained]
    return [(results[-1].metrics["accuracy"], of) for (results, _), of in zip(trained, plain, strict=True)]


def test_two_ranks_agree(two_processes: Processes, folder):
    """Every optimizer, one trial each: equal weights on both, and they learn as one rank does."""
    ranks = {"ranks": 2, "cpus_per_rank": 1}
    jobs = [digits_job(folder, **settings(name), job=ranks) for name in NAMES]
    first, second = two_processes.call(one_of_two, two_processes.address(), jobs, timeout_s=400.0)
    for name, (accuracy, weights), (_, others) in zip(NAMES, first, second, strict=True):
        assert accuracy > 0.6, name
        assert all((weights[key] == others[key]).all() for key in weights), name


@every
def test_its_state_is_what_a_fresh_one_goes_on_from(name):
    """state_dict and load_state_dict: the next step of another object is the same."""
    one, other = (small_net() for _ in range(2))
    first, second = (of(model, name) for model in (one, other))
    for _ in range(3):
        step(one, first, 0)
    other.load_state_dict(one.state_dict())
    second.load_state_dict(deepcopy(first.state_dict()))  # it may keep the very tensors that it is given
    for model, optimizer in ((one, first), (other, second)):
        step(model, optimizer, 1)
    assert same_bits(one.state_dict(), other.state_dict())


@every
def test_groups_keep_their_rates_and_their_decay(name):
    """The norms' own rate, a layer's own rate, and no decay but of weights, through every change of the rate."""
    model = small_net()
    configuration = Configuration(optimizer=name, norm_lr_ratio=4.0, weight_decay=0.1)
    optimizer = make_optimizer(model, configuration, learning_rate=1.0, rate_ratios={"0.weight": 0.5})
    named = {id(p): key for key, p in model.named_parameters()}
    set_learning_rate(optimizer, 0.5)
    seen = {named[id(p)]: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert seen.keys() == set(named.values())
    assert seen["0.weight"] == (0.25, 0.1) and seen["3.weight"] == seen["12.weight"] == (0.5, 0.1)
    assert seen["1.weight"] == seen["1.bias"] == (2.0, 0.0) and seen["12.bias"] == (0.5, 0.0)


def small_net() -> nn.Module:
    torch.manual_seed(0)
    model = small_cnn(num_classes=3, in_channels=1, image_size=(8, 8), width=4)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it


def of(model: nn.Module, name: str) -> Optimizer:
    return make_optimizer(model, Configuration(optimizer=name, weight_decay=0.1), learning_rate=0.01)


def step(model: nn.Module, optimizer: Optimizer, seed: int) -> None:
    drawn = torch.Generator().manual_seed(seed)
    optimizer.zero_grad()
    model(torch.randn(4, 1, 8, 8, generator=drawn)).square().sum().backward()
    optimizer.step()
