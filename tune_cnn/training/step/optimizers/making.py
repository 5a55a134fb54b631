"""The configuration's optimizer, made over the parameters that learn."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from tune_cnn.errors import TrialError
from tune_cnn.spec import Configuration
from tune_cnn.spec.optimizers import SCHEDULE_FREE, is_own
from tune_cnn.training.step.optimizers.averaging import begin_training, schedule_free_optimizer
from tune_cnn.training.step.optimizers.groups import Group, decay_of_step, parameter_groups, set_learning_rate
from tune_cnn.training.step.optimizers.large_batch import large_batch_optimizer
from tune_cnn.training.step.optimizers.muon import Muon, muon_groups
from tune_cnn.training.step.optimizers.own import own_optimizer
from tune_cnn.untyped import Untyped

FUSED_ON = frozenset({"cpu", "cuda"})
OF_SGD = frozenset({"sgd", "sam"})  # whose rule is SGD's; `sam` takes its gradients elsewhere


def make_optimizer(
    model: nn.Module, configuration: Configuration, *, learning_rate: float, rate_ratios: Mapping[str, float] = {}
) -> Optimizer:
    """The configuration's optimizer; its groups' rates follow `set_learning_rate`.

    rate_ratios: shares of the learning rate by parameters' names; those without have all of it.
    """
    groups = parameter_groups(
        model,
        decay_of_step(configuration),
        decay_all=configuration.decay_all,
        norm_lr_ratio=configuration.norm_lr_ratio,
        rate_ratios=rate_ratios,
    )
    if not groups:
        raise TrialError("the model has no parameter that learns (all have requires_grad=False)")
    name = configuration.optimizer
    optimizer: Optimizer
    if name in OF_SGD or name == "adamw":
        optimizer = _torchs(groups, configuration, learning_rate)
    elif name == "muon":
        momentum, nesterov = configuration.momentum, configuration.nesterov
        optimizer = Muon(muon_groups(model, groups), lr=learning_rate, momentum=momentum, nesterov=nesterov)
    elif name in ("lars", "lamb"):
        optimizer = large_batch_optimizer(groups, configuration, lr=learning_rate)
    elif name in SCHEDULE_FREE:
        optimizer = schedule_free_optimizer(groups, configuration, lr=learning_rate)
    else:
        assert is_own(name), name
        optimizer = own_optimizer(name, groups, lr=learning_rate, weight_decay=decay_of_step(configuration))
    set_learning_rate(optimizer, learning_rate)
    begin_training(optimizer)
    return optimizer


def _torchs(groups: list[Group], configuration: Configuration, learning_rate: float) -> Optimizer:
    """SGD or AdamW, fused where torch has it for the parameters' device.

    Nesterov needs momentum; without any it is plain SGD, and so asked for as that. Its state is there from the start.
    (torch's fused SGD makes its momentum in the first step, uninitialised, and doesn't write it where loss scaling
    skips that step: the next one would take what lay there for momentum.)
    """
    parameters = [parameter for group in groups for parameter in group["params"]]
    fused = all(p.device.type in FUSED_ON and p.is_floating_point() for p in parameters)
    momentum = configuration.momentum
    optimizer: Optimizer
    if configuration.optimizer == "adamw":
        optimizer = AdamW(groups, lr=learning_rate, fused=fused)
    else:
        nesterov = configuration.nesterov and momentum > 0
        optimizer = SGD(groups, lr=learning_rate, momentum=momentum, nesterov=nesterov, fused=fused)
    for parameter in parameters:
        optimizer.state[parameter] = first_state(configuration.optimizer, parameter, momentum=momentum, fused=fused)
    return optimizer


def first_state(optimizer: str, parameter: nn.Parameter, *, momentum: float, fused: bool) -> dict[str, Tensor]:
    """What the first step finds: all zero, laid out as the parameter is."""
    if optimizer == "adamw":
        step = torch.zeros((), device=parameter.device if fused else "cpu")
        return {"step": step, "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}
    return {"momentum_buffer": torch.zeros_like(parameter)} if momentum > 0 else {}


def carry_state(optimizer: Optimizer, states: Mapping[nn.Parameter, Mapping[str, Untyped]]) -> None:
    """Give a fresh optimizer the state of those parameters that have one; the others start as at a first step."""
    for parameter in (p for group in optimizer.param_groups for p in group["params"]):
        if parameter in states:
            optimizer.state[parameter] = dict(states[parameter])
