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
    groups = parameter_groups(
        model,
        decay_of_step(configuration),
        decay_all=configuration.decay_all,
        norm_lr_ratio=configuration.norm_lr_ratio,
    )
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
    set_learning_rate(optimizer, learning_rate)
    return optimizer


def first_state(optimizer: str, parameter: nn.Parameter, *, momentum: float, fused: bool) -> dict[str, Tensor]:
    """What the first step finds: all zero, laid out as the parameter is."""
    if optimizer == "adamw":
        step = torch.zeros((), device=parameter.device if fused else "cpu")
        return {"step": step, "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}
    return {"momentum_buffer": torch.zeros_like(parameter)} if momentum > 0 else {}


def decay_of_step(configuration: Configuration) -> float:
    """torch's `weight_decay`, which a step multiplies by its learning rate; a `decoupled` one doesn't grow with it."""
    if not configuration.decoupled:
        return configuration.weight_decay
    return configuration.weight_decay / configuration.learning_rate


def parameter_groups(
    model: nn.Module, weight_decay: float, *, decay_all: bool = False, norm_lr_ratio: float = 1.0
) -> list[dict[str, Untyped]]:
    """Weights with weight decay; norms, biases and other vectors and scalars without, or with the same.

    Each group's `lr_ratio` is its share of the learning rate. `norm_lr_ratio`: that of the norms' parameters, whose
    decay of a step, rate times decay, stays that of the weights.
    """
    of_norms = {id(p) for module in model.modules() if isinstance(module, NORMS) for p in module.parameters()}
    learning = [p for p in model.parameters() if p.requires_grad]
    norms = [p for p in learning if id(p) in of_norms]
    weights = [p for p in learning if p.ndim > 1 and id(p) not in of_norms]
    vectors = [p for p in learning if p.ndim <= 1 and id(p) not in of_norms]
    rest_decay = weight_decay if decay_all else 0.0
    groups: list[dict[str, Untyped]] = [{"params": weights, "weight_decay": weight_decay, "lr_ratio": 1.0}]
    if norm_lr_ratio == 1.0:
        vectors = [p for p in learning if p.ndim <= 1 or id(p) in of_norms]
    else:
        groups.append({"params": norms, "weight_decay": rest_decay / norm_lr_ratio, "lr_ratio": norm_lr_ratio})
    groups.append({"params": vectors, "weight_decay": rest_decay, "lr_ratio": 1.0})
    return [group for group in groups if group["params"]]


def carry_state(optimizer: Optimizer, states: Mapping[nn.Parameter, Mapping[str, Untyped]]) -> None:
    """Give a fresh optimizer the state of those parameters that have one; the others start as at a first step."""
    for parameter in (p for group in optimizer.param_groups for p in group["params"]):
        if parameter in states:
            optimizer.state[parameter] = dict(states[parameter])


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Each group's share of it, for the next step, rounded to float32: a captured step reads it from a tensor, and
    computes the same."""
    for group in optimizer.param_groups:
        rounded = float(np.float32(learning_rate * group["lr_ratio"]))
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rounded)
        else:
            group["lr"] = rounded
