"""What a LightningModule finds under `self.trainer`: what our loop can honestly say, and an error for the rest."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_gather
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import Optimizer

from tune_cnn.errors import TrialError
from tune_cnn.training.user_code.lightning_modules.optimizing import Scheduled
from tune_cnn.untyped import Untyped


class NotOfTrainer(TrialError, AttributeError):
    """`hasattr` is False of it; whoever asks all the same has the trial end with a message that names it."""


class OurStrategy:
    """The calls that LightningModule's own methods make of a Trainer's strategy."""

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self._lightning_optimizers = list(optimizers)  # what `self.optimizers()` gives

    def backward(self, loss: Tensor, _optimizer: Untyped, *args: Untyped, **kwargs: Untyped) -> None:
        """Of `self.manual_backward`."""
        loss.backward(*args, **kwargs)

    def all_gather(self, tensor: Tensor, group: Untyped = None, sync_grads: bool = False) -> Tensor:
        """Of `self.all_gather`: (ranks, …), or the tensor itself where there is one rank."""
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return tensor
        if sync_grads:
            return torch.stack(list(all_gather(tensor, group)))
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor.contiguous(), group=group)
        return torch.stack(parts)


class OurPrecision:
    """Of `self.clip_gradients`."""

    def clip_gradients(self, optimizer: Optimizer, clip_val: float = 0.0, algorithm: Untyped = "norm") -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if clip_val <= 0:
            return
        if str(getattr(algorithm, "value", algorithm)) == "value":
            clip_grad_value_(parameters, clip_val)
        else:
            clip_grad_norm_(parameters, clip_val)


class OurTrainer:
    """The loop as a LightningModule sees it. Everything that isn't listed here is refused by name."""

    def __init__(
        self, *, rank: int, ranks: int, epochs: int, steps: int, validation_batches: int, gradient_clip: float
    ) -> None:
        self.global_rank = rank
        self.world_size = self.num_devices = ranks
        self.is_global_zero = rank == 0
        self.max_epochs, self.min_epochs, self.max_steps = epochs, None, -1
        self.current_epoch = self.global_step = 0
        self.num_training_batches, self.num_val_batches = steps, [validation_batches]
        self.estimated_stepping_batches = steps * epochs
        self.accumulate_grad_batches = 1
        self.gradient_clip_val, self.gradient_clip_algorithm = gradient_clip or None, None
        self.training, self.validating, self.sanity_checking = False, False, False
        self.testing = self.predicting = self.fast_dev_run = self.barebones = False
        self.is_last_batch = False
        self.optimizers: list[Optimizer] = []
        self.lr_scheduler_configs: list[Scheduled] = []
        self.strategy = OurStrategy([])
        self.precision_plugin = OurPrecision()
        self.callback_metrics: dict[str, Tensor] = {}  # of the last epoch that has ended
        self.logger = self.progress_bar_callback = self.datamodule = None
        self.loggers: list[Untyped] = []
        self.callbacks: list[Untyped] = []
        self.should_stop = False

    @property
    def logged_metrics(self) -> dict[str, Tensor]:
        return self.callback_metrics

    def stepped_by(self, optimizers: Sequence[Optimizer], scheduled: Sequence[Scheduled]) -> None:
        """Take these, and count their steps from now on."""
        self.optimizers, self.lr_scheduler_configs = list(optimizers), list(scheduled)
        self.strategy = OurStrategy(optimizers)
        for optimizer in optimizers:
            optimizer.register_step_post_hook(self._count)

    def _count(self, *_: Untyped) -> None:
        self.global_step += 1

    def __setattr__(self, name: str, value: Untyped) -> None:
        if name == "should_stop" and value:
            raise NotOfTrainer(
                "self.trainer.should_stop: a trial's end is the search's; leave it to the spec's stopper"
            )
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Untyped:
        listed = ", ".join(sorted(key for key in vars(self) if not key.startswith("_")))
        raise NotOfTrainer(
            f"self.trainer.{name}: there is no Trainer behind it but tune_cnn's own loop, which has {listed}"
        )
