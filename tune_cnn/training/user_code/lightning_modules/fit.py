"""A LightningModule trained by our loop, as a generator of our own: its loss, its optimizers, its hooks; our loaders,
ranks, meters, precision and checkpoints. No Trainer runs: its processes, loggers and checkpoints would be second ones.

Called, in a Trainer's order: setup("fit"), configure_model, configure_optimizers, on_fit_start, on_load_checkpoint,
on_train_start; in an epoch on_train_epoch_start, of each batch on_after_batch_transfer, on_train_batch_start,
training_step, optimizer_step (with on_before_zero_grad, optimizer_zero_grad, on_before_backward, backward,
on_after_backward, on_before_optimizer_step, configure_gradient_clipping in its closure), lr_scheduler_step,
on_train_batch_end; then validation's hooks and validation_step, on_train_epoch_end, on_save_checkpoint; after the last
epoch on_train_end, on_fit_end, teardown("fit"). A trial that is stopped before has no such end.

Refused: what `classes.REFUSED` lists; on_train_batch_start that returns -1; a training_step without a loss; several
optimizers without manual optimization; manual optimization on several ranks (which backward of a step is to average
the gradients, nobody can know) and in fp16 (whose scaled loss the module would have to know of); an optimizer_step of
its own in fp16. There is no sanity check of the validation before the first epoch.
"""

from collections.abc import Iterator
from time import perf_counter

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.step.evaluation import check_finite
from tune_cnn.training.step.precision import PRECISIONS
from tune_cnn.training.user_code.lightning_modules.classes import arguments_of, overridden, takes_model
from tune_cnn.training.user_code.lightning_modules.hooks import Hooks, put_modes
from tune_cnn.training.user_code.lightning_modules.logged import EpochLog, Logged, gathered, known_as
from tune_cnn.training.user_code.lightning_modules.optimizing import configured
from tune_cnn.training.user_code.lightning_modules.plain_state import check_plain
from tune_cnn.training.user_code.lightning_modules.steps import Steps
from tune_cnn.training.user_code.lightning_modules.trainer import OurTrainer
from tune_cnn.training.user_code.training import Rank
from tune_cnn.untyped import Untyped


def lightning_training(found: type[nn.Module], rank: Rank) -> Iterator[dict[str, float]]:
    """Yields after each epoch what the module has logged, `train_loss`, `parameters` and `eval_time_s`."""
    model = rank.build_model() if takes_model(found) else None
    fit = Fit(found, rank, model)
    rank.make(fit.prepare)
    for epoch in range(rank.first_epoch, rank.configuration.epochs):
        yield fit.epoch(epoch)
        fit.go_on()


class Fit:
    """One module on one rank."""

    def __init__(self, found: type[nn.Module], rank: Rank, model: nn.Module | None) -> None:
        self._class, self._rank, self._model = found, rank, model
        self._configuration = rank.configuration
        self._logged = Logged(rank.ranks)
        self._eval_time_s = 0.0
        self._scaler = PRECISIONS[self._configuration.precision].scaler(rank.device)
        self._modes: dict[nn.Module, bool] = {}
        self._trainer = OurTrainer(
            rank=rank.rank,
            ranks=rank.ranks,
            epochs=self._configuration.epochs,
            steps=rank.train.steps,
            validation_batches=len(rank.validation),
            gradient_clip=self._configuration.gradient_clip,
        )

    def prepare(self) -> nn.Module:
        """The module as it is before the next epoch, on the device; everything random in it is drawn here."""
        rank, found = self._rank, self._class
        module: Untyped = found(**arguments_of(found, self._configuration, rank.facts, self._model))
        self._module = module
        self._hooks = hooks = Hooks(module, self._logged, self._trainer)
        hooks("setup", "fit")
        hooks("configure_model")
        hooks.attach()  # what these two have made
        module.to(rank.device)
        given = hooks("configure_optimizers")
        self._trainer.stepped_by(*configured(given, automatic=bool(module.automatic_optimization)))
        hooks("on_fit_start")
        self._load()
        self._steps = Steps(hooks, rank, self._trainer, self._scaler)
        hooks("on_train_start")
        return module  # type: ignore[no-any-return]  # it is of the user's class

    def epoch(self, epoch: int) -> dict[str, float]:
        """Train and validate; this epoch's metrics, equal on all ranks but for eval_time_s."""
        trainer, meters = self._trainer, self._rank.meters
        trainer.current_epoch = epoch
        with meters.training():
            trainer.training = True
            self._hooks("on_train_epoch_start")
            loss = self._steps.train(epoch)
        begun_s = perf_counter()
        self._modes = self._hooks.modes()
        if overridden(self._class, "validation_step"):
            self._validate()
            self.go_on()
        self._hooks("on_train_epoch_end")
        log = self._logged.end()
        self._eval_time_s += perf_counter() - begun_s
        trainer.training = False
        trainer.callback_metrics = {name: torch.tensor(value) for name, value in log.all.items()}
        self._steps.step_schedulers("epoch", epoch + 1, plateau=True)
        if epoch + 1 == self._configuration.epochs:
            self._hooks("on_train_end")
            self._hooks("on_fit_end")
            self._hooks("teardown", "fit")
        self._save(epoch)
        return self._metrics(log, loss, epoch)

    def go_on(self) -> None:
        """Each part in the mode, of training or evaluation, in which the training left it."""
        put_modes(self._modes)

    def _validate(self) -> None:
        """This rank's share, without gradients, with rank 0's buffers: each rank's running statistics are its own."""
        rank, trainer = self._rank, self._trainer
        if rank.ranks > 1:
            for buffer in self._module.buffers():
                dist.broadcast(buffer, 0)
        trainer.training, trainer.validating = False, True
        self._module.eval()
        with torch.no_grad():
            self._hooks("on_validation_start")
            self._hooks("on_validation_epoch_start")
            for number, batch in enumerate(rank.validation):
                self._logged.images = len(batch.labels_n)
                self._validation_step(batch, number)
            self._hooks("on_validation_epoch_end")
            self._hooks("on_validation_end")
        trainer.training, trainer.validating = True, False

    def _validation_step(self, batch: Batch, number: int) -> None:
        seen = self._hooks("on_after_batch_transfer", batch, 0)
        self._hooks("on_validation_batch_start", seen, number)
        with self._rank.autocast():
            outputs = self._hooks.step("validation_step", seen, number)
        self._hooks("on_validation_batch_end", outputs, seen, number)

    def _metrics(self, log: EpochLog, loss: tuple[Tensor, int], epoch: int) -> dict[str, float]:
        """What the module logged goes before ours, but for what it logged by step alone: ours is the epoch's mean."""
        ours: dict[str, float] = {
            "parameters": float(sum(p.numel() for p in self._module.parameters() if p.requires_grad))
        }
        sums = gathered((float(loss[0]), loss[1]), self._rank.ranks)
        images = sum(count for _, count in sums)
        if images:
            ours["train_loss"] = sum(total for total, _ in sums) / images
            check_finite("train_loss", ours["train_loss"], epoch)
        names = known_as(list(log.all))
        by_step = {names[name]: value for name, value in log.by_step.items()}
        by_epoch = {names[name]: value for name, value in log.by_epoch.items()}
        return {**by_step, **ours, "eval_time_s": self._eval_time_s, **by_epoch}

    def _save(self, epoch: int) -> None:
        """Between epochs; under Lightning's own names where the module's hooks see it."""
        seen: dict[str, Untyped] = {
            "epoch": epoch,
            "global_step": self._trainer.global_step,
            "state_dict": self._module.state_dict(),
            "optimizer_states": [one.state_dict() for one in self._trainer.optimizers],
            "lr_schedulers": [one.scheduler.state_dict() for one in self._trainer.lr_scheduler_configs],
        }
        self._hooks("on_save_checkpoint", seen)
        check_plain(seen)
        ours = {
            "scaler": self._scaler.state_dict(),
            "eval_time_s": self._eval_time_s,
            "callback_metrics": {name: float(value) for name, value in self._trainer.callback_metrics.items()},
            "modes": [part.training for part in self._module.modules()],
        }
        self._rank.checkpoint.save({"lightning": seen, "ours": ours})

    def _load(self) -> None:
        saved = self._rank.checkpoint.load()
        if saved is None:
            return
        seen, ours = saved["lightning"], saved["ours"]
        self._hooks("on_load_checkpoint", seen)
        self._module.load_state_dict(seen["state_dict"], strict=self._module.strict_loading)
        for optimizer, state in zip(self._trainer.optimizers, seen["optimizer_states"], strict=True):
            optimizer.load_state_dict(state)
        for scheduled, state in zip(self._trainer.lr_scheduler_configs, seen["lr_schedulers"], strict=True):
            scheduled.scheduler.load_state_dict(state)
        self._trainer.global_step = seen["global_step"]
        self._scaler.load_state_dict(ours["scaler"])
        self._eval_time_s = ours["eval_time_s"]
        self._trainer.callback_metrics = {name: torch.tensor(value) for name, value in ours["callback_metrics"].items()}
        for part, training in zip(self._module.modules(), ours["modes"], strict=True):
            part.training = training
