"""What a training step works with."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer

from tune_cnn.training.step.precision import Precision


@dataclass(kw_only=True)
class TrainState:
    """The parts that learn. `model` is what a step calls: the module itself, or one compiled or data-parallel."""

    model: nn.Module
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    precision: Precision
    device: torch.device
    learning_rate: Callable[[int], float]  # of the step, counted over the whole horizon
    label_smoothing: float
    gradient_clip: float
