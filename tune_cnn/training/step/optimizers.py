"""Optimizers: SGD and AdamW, with weight decay on weights alone."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import SGD, AdamW, Optimizer

from tune_cnn.errors import TrialError
from tune_cnn.spec import Configuration
from tune_cnn.untyped import Untyped

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
FUSED_ON = frozenset({"cpu", "cuda"})


def make_optimizer(model: nn.Module, configuration: Configuration, *, learning_rate: float) -> Optimizer:
    """The configuration's optimizer over the parameters that learn; fused where torch has it for their device.

    Nesterov needs momentum; without any it is plain SGD, and so asked for as that. Its state is there from the start.
    (torch's fused SGD makes its momentum in the first step, uninitialised, and doesn't write it where loss scaling
    skips that step: the next one would take what lay there for momentum.)
    """
    groups = parameter_groups(model, configuration.weight_decay)
    parameters = [parameter for group in groups for parameter in group["params"]]
    if not parameters:
        raise TrialError("the model has no parameter that learns (all have requires_grad=False)")
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


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Untyped]]:
    """Two groups: weights with weight decay; norms, biases and other vectors and scalars without."""
    of_norms = {id(p) for module in model.modules() if isinstance(module, NORMS) for p in module.parameters()}
    learning = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in learning if p.ndim > 1 and id(p) not in of_norms]
    rest = [p for p in learning if p.ndim <= 1 or id(p) in of_norms]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def carry_state(optimizer: Optimizer, states: Mapping[nn.Parameter, Mapping[str, Untyped]]) -> None:
    """Give a fresh optimizer the state of those parameters that have one; the others start as at a first step."""
    for parameter in (p for group in optimizer.param_groups for p in group["params"]):
        if parameter in states:
            optimizer.state[parameter] = dict(states[parameter])


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """For the next step, rounded to float32: a captured step reads it from a tensor, and computes the same."""
    rounded = float(np.float32(learning_rate))
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rounded)
        else:
            group["lr"] = rounded
