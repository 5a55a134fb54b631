"""LARS (You, Gitman, Ginsburg, 2017, https://arxiv.org/abs/1708.03888), LAMB (2019, https://arxiv.org/abs/1904.00962)."""

from torch.optim import Optimizer

from tune_cnn.spec import Configuration
from tune_cnn.training.step.optimizers.groups import Group
from tune_cnn.training.step.optimizers.optional import optional_class


def large_batch_optimizer(groups: list[Group], configuration: Configuration, *, lr: float) -> Optimizer:
    """timm's LARS or LAMB: each layer's step is in proportion to its weights' norm.

    You, Gitman, Ginsburg, "Large Batch Training of Convolutional Networks", 2017, https://arxiv.org/abs/1708.03888;
    You et al., "Large Batch Optimization for Deep Learning", 2019, https://arxiv.org/abs/1904.00962. Groups without
    decay, which are norms and biases, step as plain SGD and Adam do. Gradients are clipped by `gradient_clip` alone:
    timm's LAMB would clip them to 1.
    """
    make = optional_class(configuration.optimizer)
    made: Optimizer
    if configuration.optimizer == "lars":
        momentum = configuration.momentum
        made = make(groups, lr=lr, momentum=momentum, nesterov=configuration.nesterov and momentum > 0)
    else:
        made = make(groups, lr=lr, max_grad_norm=None)
    return made
