"""Optimizers that keep averaged weights to evaluate: schedule-free ones (Defazio et al., 2024).

"The Road Less Scheduled", https://arxiv.org/abs/2405.15682: the average takes the place of a falling learning rate, so
that every epoch is one to stop at, and no horizon is needed.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tune_cnn.spec import Configuration
from tune_cnn.training.step.optimizers.groups import Group
from tune_cnn.training.step.optimizers.optional import optional_class


def schedule_free_optimizer(groups: list[Group], configuration: Configuration, *, lr: float) -> Optimizer:
    """The authors' own SGD or AdamW, with their momentum of 0.9. The warm-up is ours, after it the rate is constant."""
    made: Optimizer = optional_class(configuration.optimizer)(groups, lr=lr)
    return made


def modes_of(optimizer: Optimizer) -> tuple[Callable[[], object], Callable[[], object]] | None:
    """Its `train` and `eval`, which put the weights to learn with and those to evaluate in place; None without."""
    train, evaluate = getattr(optimizer, "train", None), getattr(optimizer, "eval", None)
    return (train, evaluate) if callable(train) and callable(evaluate) else None


def begin_training(optimizer: Optimizer) -> None:
    """A fresh one steps in its training mode."""
    if (modes := modes_of(optimizer)) is not None:
        modes[0]()


def averaged_weights(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """The weights to evaluate, by name, where the optimizer keeps others than it learns with; else none.

    Model and optimizer are left to the bit as they were: the way there and back would round.
    """
    modes = modes_of(optimizer)
    if modes is None:
        return {}
    train, evaluate = modes
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with torch.no_grad():
        own = {name: p.detach().clone() for name, p in learning.items()}
        evaluate()
        averaged = {name: p.detach().clone() for name, p in learning.items()}
        train()
        for name, parameter in learning.items():
            parameter.copy_(own[name])
    return averaged
