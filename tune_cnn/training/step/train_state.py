"""What a training step works with."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tune_cnn.training.step.context import TrialContext
from tune_cnn.training.step.losses import training_loss
from tune_cnn.training.step.model import wrapped
from tune_cnn.training.step.optimizers.making import make_optimizer
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
    loss: str = "cross_entropy"
    class_weights_k: Tensor | None = None  # on the device
    accumulate: int = 1  # micro-batches a step
    least_images: int = 2  # of a micro-batch on this rank: batch normalisation of 1×1 maps takes no single one
    sam_rho: float = 0.0  # how far sharpness-aware steps look; 0: they don't
    # What an epoch's steps add up to on this rank; on the device, not waited for.
    loss_sum: Tensor = field(init=False)  # the loss without penalties, over images
    skipped_steps: Tensor = field(init=False)

    @property
    def passes(self) -> int:
        """How often a step takes its batch: sharpness-aware ones twice."""
        return 2 if self.sam_rho > 0 else 1

    def loss_of(self, logits: Tensor, labels_n: Tensor, *, reduction: str = "mean") -> Tensor:
        """The loss that is trained on, without penalties."""
        return training_loss(
            logits,
            labels_n,
            kind=self.loss,
            label_smoothing=self.label_smoothing,
            class_weights_k=self.class_weights_k,
            reduction=reduction,
        )

    def __post_init__(self) -> None:
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self.skipped_steps = torch.zeros((), dtype=torch.int64, device=self.device)


def make_train_state(
    model: nn.Module, context: TrialContext, learning_rate: Callable[[int], float], *, some_unused: bool
) -> TrainState:
    """For this bare model, as the configuration wants it. `some_unused`: some parameters get no gradient."""
    configuration = context.job.configuration
    return TrainState(
        model=wrapped(model, context, some_unused=some_unused),
        optimizer=make_optimizer(model, configuration, learning_rate=learning_rate(0), rate_ratios=context.rate_ratios),
        scaler=context.precision.scaler(context.device),
        precision=context.precision,
        device=context.device,
        learning_rate=learning_rate,
        label_smoothing=configuration.label_smoothing,
        gradient_clip=configuration.gradient_clip,
        loss=configuration.loss,
        class_weights_k=context.class_weights_k,
        accumulate=configuration.accumulate,
        least_images=1 if configuration.batch_size == configuration.accumulate * context.group.ranks else 2,
        sam_rho=configuration.sam_rho if configuration.optimizer == "sam" else 0.0,
    )
