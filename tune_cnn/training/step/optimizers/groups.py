"""Which parameters an optimizer gets, in groups of one rate and one decay."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import Optimizer

from tune_cnn.spec import Configuration
from tune_cnn.untyped import Untyped

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)

Group = dict[str, Untyped]


def decay_of_step(configuration: Configuration) -> float:
    """torch's `weight_decay`, which a step multiplies by its learning rate; a `decoupled` one doesn't grow with it."""
    if not configuration.decoupled:
        return configuration.weight_decay
    return configuration.weight_decay / configuration.learning_rate


def parameter_groups(
    model: nn.Module,
    weight_decay: float,
    *,
    decay_all: bool = False,
    norm_lr_ratio: float = 1.0,
    rate_ratios: Mapping[str, float] = {},
) -> list[Group]:
    """Weights with weight decay; norms, biases and other vectors and scalars without, or with the same.

    Each group's `lr_ratio` is its share of the learning rate. `norm_lr_ratio`: that of the norms' parameters, whose
    decay of a step, rate times decay, stays that of the weights. `rate_ratios`: of parameters by name, on top of that;
    their decay shrinks with it.
    """
    of_norms = norm_parameters(model)
    learning = [p for p in model.parameters() if p.requires_grad]
    norms = [p for p in learning if id(p) in of_norms]
    weights = [p for p in learning if p.ndim > 1 and id(p) not in of_norms]
    vectors = [p for p in learning if p.ndim <= 1 and id(p) not in of_norms]
    rest_decay = weight_decay if decay_all else 0.0
    groups: list[Group] = [{"params": weights, "weight_decay": weight_decay, "lr_ratio": 1.0}]
    if norm_lr_ratio == 1.0:
        vectors = [p for p in learning if p.ndim <= 1 or id(p) in of_norms]
    else:
        groups.append({"params": norms, "weight_decay": rest_decay / norm_lr_ratio, "lr_ratio": norm_lr_ratio})
    groups.append({"params": vectors, "weight_decay": rest_decay, "lr_ratio": 1.0})
    ratios = {id(p): rate_ratios[name] for name, p in model.named_parameters() if name in rate_ratios}
    return [group for whole in groups for group in _by_ratio(whole, ratios) if group["params"]]


def norm_parameters(model: nn.Module) -> set[int]:
    """The ids of the scales and shifts of normalisations."""
    return {id(p) for module in model.modules() if isinstance(module, NORMS) for p in module.parameters()}


def _by_ratio(group: Group, ratios: Mapping[int, float]) -> list[Group]:
    """The group, or one group for each rate that parameters of it have."""
    if not ratios:
        return [group]
    found: dict[float, list[nn.Parameter]] = {}
    for parameter in group["params"]:
        found.setdefault(ratios.get(id(parameter), 1.0), []).append(parameter)
    return [{**group, "params": of, "lr_ratio": group["lr_ratio"] * ratio} for ratio, of in found.items()]


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Each group's share of it, for the next step, rounded to float32: a captured step reads it from a tensor, and
    computes the same."""
    for group in optimizer.param_groups:
        rounded = float(np.float32(learning_rate * group["lr_ratio"]))
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rounded)
        else:
            group["lr"] = rounded
