"""The training steps of a LightningModule's epoch: its loss, its optimizer, its schedulers, each by its own hooks."""

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tune_cnn.errors import TrialError
from tune_cnn.training.user_code.lightning_modules.classes import overridden
from tune_cnn.training.user_code.lightning_modules.hooks import Hooks
from tune_cnn.training.user_code.lightning_modules.optimizing import Scheduled
from tune_cnn.training.user_code.lightning_modules.trainer import OurTrainer
from tune_cnn.training.user_code.training import Rank
from tune_cnn.untyped import Untyped


class Stepped(nn.Module):
    """`training_step` as the forward pass of a module, so that DDP sees it begin and end."""

    def __init__(self, hooks: Hooks) -> None:
        super().__init__()
        self.module = hooks.module
        self._hooks = hooks
        self.outputs: Untyped = None  # of the last step, as the module gave them

    def forward(self, batch: Untyped, number: int) -> Tensor:
        """The loss, a scalar."""
        self.outputs = self._hooks.step("training_step", batch, number)
        return loss_of(self.outputs)


class Steps:
    """Takes them; made when the module is on the device and its optimizers are known."""

    def __init__(self, hooks: Hooks, rank: Rank, trainer: OurTrainer, scaler: torch.amp.GradScaler) -> None:
        self._hooks, self._rank, self._trainer, self._scaler = hooks, rank, trainer, scaler
        self._automatic = bool(hooks.module.automatic_optimization)
        self._check()
        self._stepped = Stepped(hooks)
        self._loss: nn.Module = self._stepped
        if rank.ranks > 1:
            self._loss = DistributedDataParallel(
                self._stepped,
                device_ids=[rank.device] if rank.device.type == "cuda" else None,
                gradient_as_bucket_view=True,
                find_unused_parameters=True,  # which ones a step uses, the module alone knows
                broadcast_buffers=False,  # no step reads them; the validation begins by sharing rank 0's
            )

    def _check(self) -> None:
        found, fp16 = type(self._hooks.module), self._scaler.is_enabled()
        if not self._automatic and self._rank.ranks > 1:
            raise TrialError(
                f"{found.__name__}: manual optimization is for one rank here, got {self._rank.ranks}; set ranks: 1"
            )
        if fp16 and (not self._automatic or overridden(found, "optimizer_step")):
            what = "an optimizer_step of its own" if self._automatic else "manual optimization"
            raise TrialError(
                f"{found.__name__}: {what} can't be trained in fp16, whose loss is scaled; use bf16 or fp32"
            )

    def train(self, epoch: int) -> tuple[Tensor, int]:
        """The sum of the losses over this rank's images, on the device, and the images."""
        rank, trainer = self._rank, self._trainer
        total, images = torch.zeros((), dtype=torch.float64, device=self._rank.device), 0
        for number, batch in enumerate(rank.meters.watch(rank.train.epoch(epoch))):
            count = self._hooks.logged.images = len(batch.labels_n)
            trainer.is_last_batch = number + 1 == rank.train.steps
            seen = self._hooks("on_after_batch_transfer", batch, 0)
            if self._hooks("on_train_batch_start", seen, number) == -1:
                raise TrialError("on_train_batch_start: returned -1, but an epoch can't be left; take it out")
            if self._automatic:
                total += self._automatic_step(seen, epoch, number).detach() * count
                images += count
            else:
                with rank.autocast():
                    self._stepped.outputs = self._hooks.step("training_step", seen, number)
            if self._automatic:
                self.step_schedulers("step", number + 1, plateau=False)
                if trainer.is_last_batch:
                    self.step_schedulers("epoch", epoch + 1, plateau=False)
            self._hooks("on_train_batch_end", detached(self._stepped.outputs), seen, number)
            self._stepped.outputs = None
            rank.meters.step(count)
        return total, images

    def _automatic_step(self, batch: Untyped, epoch: int, number: int) -> Tensor:
        optimizer, scaler = self._trainer.optimizers[0], self._scaler
        losses: list[Tensor] = []

        def closure() -> Tensor:
            with self._rank.autocast():
                loss = self._loss(batch, number)
            self._hooks("on_before_zero_grad", optimizer)
            self._hooks("optimizer_zero_grad", epoch, number, optimizer)
            self._hooks("on_before_backward", loss)
            self._hooks("backward", scaler.scale(loss))
            self._hooks("on_after_backward")
            if scaler.is_enabled():
                scaler.unscale_(optimizer)
            self._hooks("on_before_optimizer_step", optimizer)
            self._hooks(
                "configure_gradient_clipping",
                optimizer,
                gradient_clip_val=self._trainer.gradient_clip_val,
                gradient_clip_algorithm=None,
            )
            losses.append(loss)
            return loss  # type: ignore[no-any-return]  # of the module that was called

        if scaler.is_enabled():
            closure()
            scaler.step(optimizer)
            scaler.update()
        else:
            self._hooks("optimizer_step", epoch, number, optimizer, closure)
        if not losses:
            raise TrialError(
                "optimizer_step: must call its closure, which computes the loss; let it do so at each step"
            )
        return losses[0]

    def step_schedulers(self, interval: str, number: int, *, plateau: bool) -> None:
        """Those that are due after so many steps or epochs; none in manual optimization, as in Lightning."""
        for scheduled in self._trainer.lr_scheduler_configs:
            if self._automatic and scheduled.is_due(interval, number, plateau=plateau):
                value = self._monitored(scheduled) if plateau else None
                if value is not None or not plateau:
                    self._hooks("lr_scheduler_step", scheduled.scheduler, value)

    def _monitored(self, scheduled: Scheduled) -> Tensor | None:
        """What a plateau is looked for in; None where there is none, and the scheduler isn't strict about it."""
        known = self._trainer.callback_metrics
        if scheduled.monitor not in known and scheduled.strict:
            raise TrialError(
                f"configure_optimizers: monitor {scheduled.monitor!r} was not logged in the epoch; logged were "
                f"{', '.join(sorted(known)) or 'none'}"
            )
        return known.get(scheduled.monitor or "")


def loss_of(outputs: Untyped) -> Tensor:
    """Of what training_step returned: a scalar, or a mapping that holds it as `loss`; TrialError else."""
    loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
        raise TrialError(
            "training_step: must return the loss, a tensor of one number with a gradient, or a mapping that holds it "
            f"as 'loss', got {'a tensor without a gradient' if isinstance(loss, Tensor) else type(outputs).__name__}"
        )
    return loss.squeeze()


def detached(outputs: Untyped) -> Untyped:
    """Without the graph, as on_train_batch_end sees it."""
    if isinstance(outputs, dict):
        return {name: detached(value) for name, value in outputs.items()}
    return outputs.detach() if isinstance(outputs, Tensor) else outputs
