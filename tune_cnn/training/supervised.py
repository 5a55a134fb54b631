"""The training that the package itself does: a classifier, by cross-entropy, from its configuration."""

import logging
from collections.abc import Callable, Mapping

import torch
from torch import nn

from tune_cnn.errors import first_line
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.data.order import first_and_last, steps_per_epoch
from tune_cnn.training.loop import EpochSums, new_sums, train_steps
from tune_cnn.training.meters.meters import Meters
from tune_cnn.training.models.facts import ModelFacts
from tune_cnn.training.step.captured import CapturedSteps, recorder_for, why_not_captured
from tune_cnn.training.step.context import TrialContext
from tune_cnn.training.step.evaluation import Evaluation, check_finite, evaluate
from tune_cnn.training.step.fine_tuning import FineTuning
from tune_cnn.training.step.gradient_underflow import gradient_underflow_pct
from tune_cnn.training.step.model import built_model
from tune_cnn.training.step.schedules import Plateau, factor_in_training, scaled_learning_rate
from tune_cnn.training.step.train_state import make_train_state
from tune_cnn.training.step.warm_up import needs_warm_up, warm_up
from tune_cnn.training.strategies.framework.applied import AppliedStrategies
from tune_cnn.training.strategies.framework.optimizers_values import evaluated_by_optimizer
from tune_cnn.training.strategies.framework.training_run import Change, TrainingRun
from tune_cnn.training.strategies.framework.values import holding, put_values
from tune_cnn.training.user_code.metrics import find_metrics, measure_metrics
from tune_cnn.training.within_epoch import Interrupted, WithinEpoch, buffers_and, differing, with_leaves
from tune_cnn.untyped import Untyped

_log = logging.getLogger(__name__)


class SupervisedTraining:
    """One trial's model, optimizer, schedule and loader. Torch's generators must be seeded before it is made."""

    def __init__(self, context: TrialContext, model_facts: ModelFacts) -> None:
        self._context = context
        self.meters: tuple[Meters, ...] = (context.meters,)
        self._model_facts = model_facts
        self._user_metrics = find_metrics(context)
        configuration = context.job.configuration
        self._run = TrainingRun(context, built_model(context))
        self._strategies = AppliedStrategies(self._run, configuration.strategies_on)
        self._strategies.prepare()
        if names := self._strategies.only_between_epochs:
            _log.info("checkpoints are written between epochs alone: %s has no resume_epoch", ", ".join(names))
        self._fine_tuning = FineTuning.of(self.model, context)
        self._peak_rate = scaled_learning_rate(configuration)
        self._plateau = Plateau.of(configuration)
        self._train_gflops = 0.0  # over all ranks
        self._skipped_steps = 0
        self._within: WithinEpoch | None = None  # the epoch that is being trained, or was left
        self._interrupted: Interrupted | None = None  # the one that goes on
        self._loader = context.started_loader()
        self._steps = self._loader.steps  # of the epoch
        some_unused = bool(model_facts.unused_parameters) or self._strategies.leave_unused
        self._shapes: list[Batch] = []  # of each size of batch, without their values
        if needs_warm_up(context):
            with context.timed("compile_time_s"):
                self._warm_up(some_unused)
            context.forget_warm_up()
        self._train_state = make_train_state(self.model, context, self._learning_rate, some_unused=some_unused)
        self._run.begin(self._train_state, self._loader, some_unused=some_unused)
        self._captured: CapturedSteps | None = None
        with context.timed("compile_time_s"):
            self._capture()

    @property
    def model(self) -> nn.Module:
        """The bare module, as it is now."""
        return self._run.model

    @property
    def changes(self) -> list[Change]:
        """What strategies have made of the factory's model."""
        return self._run.changes

    def train_epoch(self, epoch: int, leave: Callable[[int, int], bool]) -> dict[str, float] | None:
        """Train epoch number `epoch`, from 0, and evaluate: this rank's metrics, to be reduced; None where it was left.

        leave: whether to, asked after a step with its number and that of all, while `state` tells of just then.
        """
        context, meters = self._context, self._context.meters
        if self._interrupted is None:
            meters.epoch()
            if epoch % context.job.configuration.epochs_of_training == 0:
                self._plateau = Plateau.of(context.job.configuration)
        with meters.training():
            sums = self._train(epoch, leave=None if self._strategies.only_between_epochs else leave)
            if sums.left:
                return None
            last = epoch + 1 == context.job.last_epoch
            if last:
                self._captured = None  # from here on the model may be another
            evaluated = self._strategies.end_epoch(last=last)
        metrics = self._training_metrics(epoch, sums)
        if evaluated:
            context.group.share_buffers(self.model)  # as evaluating the model itself would
        with context.timed("eval_time_s"), holding(self.model, evaluated):
            evaluation = self._evaluated()
            check_finite("val_loss", evaluation.loss, epoch)
            metrics |= evaluation.metrics()
            metrics |= measure_metrics(self._user_metrics, self.model, context)
        if self._plateau is not None:
            self._plateau.observe(evaluation.loss)
        return metrics

    def _evaluated(self) -> Evaluation:
        """On the validation split. Captured steps hold the memory that they work in: they are given up if it lacks."""
        context = self._context
        try:
            return evaluate(self.model, context, context.images.validation)
        except torch.OutOfMemoryError as error:
            if self._captured is None:
                raise
            _log.warning("steps are captured no more: %s", first_line(error))
            self._captured = None
            self._train_state.optimizer.zero_grad(set_to_none=True)
        context.forget_warm_up()
        return evaluate(self.model, context, context.images.validation)

    def probe(self, steps: int) -> int:
        """Train that many steps of the first epoch, on the meters; returns how many steps an epoch has."""
        meters = self._context.meters
        meters.epoch()
        with meters.training():
            self._train(0, steps)
        return self._steps

    def _warm_up(self, some_unused: bool) -> None:
        batches = self._batches_of_each_size()
        warm_up(self.model, self._context, batches, some_unused=some_unused)
        self._shapes = [Batch(*(torch.empty_like(part, device="meta") for part in batch)) for batch in batches]

    def _batches_of_each_size(self) -> list[Batch]:
        """A batch of each size that an epoch has: of two whole ones, as what is left over may join the second."""
        positions_n = self._context.epoch_order(0)
        batches = self._loader.epoch(0, first_and_last(positions_n, self._run.batch_size, 2))
        return list({batch.images_nchw.shape: batch for batch in batches}.values())

    def _capture(self) -> None:
        """Record the step for each size of batch, or say why it is taken kernel by kernel."""
        context, self._captured = self._context, None
        recorder = recorder_for(context.device)
        if recorder is None:
            return
        why_not = why_not_captured(context, self.model, self._strategies.not_capturable)
        if why_not is not None:
            _log.info("steps are not captured: %s", why_not)
            return
        captured = CapturedSteps(recorder)
        try:
            for shape in self._shapes:
                captured.capture(self._train_state, self._strategies, shape)
        except RuntimeError as error:
            # They are taken kernel by kernel then: for want of memory, or of what a graph can't hold.
            _log.warning("steps are not captured: %s", first_line(error))
            self._train_state.optimizer.zero_grad(set_to_none=True)
            return
        self._captured, self._captured_of = captured, self._run.rebuilt

    def _train(
        self, epoch: int, steps: int | None = None, leave: Callable[[int, int], bool] | None = None
    ) -> EpochSums:
        """An epoch's steps, or those that are left of it; with `steps` so many and the last one, which may be odd."""
        strategies, interrupted, sums = self._strategies, self._interrupted, new_sums(self._train_state)
        if interrupted is None:
            strategies.start_epoch(epoch)
            if self._fine_tuning.joins(epoch):
                self._join()
        if self._captured is not None and self._captured_of != self._run.rebuilt:
            self._capture()
        self._steps, context = self._loader.steps, self._context
        positions_n = None if interrupted is None else interrupted.positions_n
        if strategies.orders or context.draws_classes:
            if positions_n is None:
                positions_n = strategies.order(epoch, context.epoch_order(epoch))
            self._steps = steps_per_epoch(len(positions_n), self._run.batch_size, context.job.ranks)
        if interrupted is not None:
            interrupted.go_on(sums, context.device)
            self._interrupted = None
        self._within = WithinEpoch(epoch=epoch, positions_n=positions_n, sums=sums)
        taken_n = positions_n if positions_n is not None else context.epoch_order(epoch)
        if steps is not None:
            positions_n = taken_n = first_and_last(taken_n, self._run.batch_size, steps)
        self._run.begin_steps(taken_n, sums.steps)
        train_steps(
            self._train_state,
            self._loader.epoch(epoch, positions_n, first=sums.steps),
            context.meters,
            strategies,
            sums,
            first_step=epoch * self._steps,
            captured=self._captured,
            leave=None if leave is None else lambda: leave(sums.steps, self._steps),
        )
        if not sums.left:
            self._within = None
        return sums

    def _join(self) -> None:
        """The backbone learns beside the head from here on."""
        put_values(self.model, evaluated_by_optimizer(self._run))
        self._fine_tuning.join(self.model)
        self._run.begin_anew()

    def _training_metrics(self, epoch: int, sums: EpochSums) -> dict[str, float]:
        totals = torch.stack([sums.loss, sums.loss.new_tensor(float(sums.images)), sums.skipped_steps.double()])
        loss, images, skipped = self._context.group.add_up(totals).tolist()
        train_loss = loss / images
        check_finite("train_loss", train_loss, epoch)
        facts, train_gflops_per_image = self._model_facts, self._model_facts.train_gflops
        assert sums.last_batch is not None
        if self._strategies or self._fine_tuning:
            height, width = sums.last_batch.images_nchw.shape[-2:]
            facts = self._run.measured(self._context.images.facts.image_size)
            train_gflops_per_image = self._run.measured((height, width)).train_gflops
        again = facts.inference_gflops * self._context.job.configuration.activation_checkpointing
        self._train_gflops += self._train_state.passes * (train_gflops_per_image + again) * round(images)
        told = self._strategies.metrics()
        metrics = {
            "train_loss": train_loss,
            "parameters": float(facts.parameters),
            "inference_gflops": self._run.inference_gflops(facts),
            "train_gflops": self._train_gflops + self._run.gflops_beside * self._context.group.ranks,
            **told,
        }
        if self._context.seen.cached_pct is not None:
            metrics["compile_cached_pct"] = self._context.seen.cached_pct
        if self._context.device.type == "cuda":
            metrics["captured_pct"] = 100.0 * sums.captured / sums.steps
        if self._context.precision.scales_loss:
            self._skipped_steps += round(skipped) // self._context.group.ranks  # ranks skip the same steps
            metrics["skipped_steps"] = float(self._skipped_steps)
            state = self._train_state
            metrics["grad_underflow_pct"] = gradient_underflow_pct(
                self.model,
                *sums.last_batch,
                precision=state.precision,
                loss_scale=state.scaler.get_scale(),
                loss_of=state.loss_of,
            )
        return metrics

    def read_meters(self) -> dict[str, float]:
        return self._context.meters.read()

    def state(self) -> dict[str, Untyped]:
        """All that decides how the training goes on; equal on all ranks, but for `state_of_rank`."""
        assert self._interrupted is None, "what was loaded within an epoch stands on disk; a step is taken first"
        optimizer = self._train_state.optimizer.state_dict()
        for group in optimizer["param_groups"]:
            group["lr"] = float(group["lr"])  # a captured step's is a tensor of the device
        return {
            "model": self.model.state_dict(),
            "optimizer": optimizer,
            "scaler": self._train_state.scaler.state_dict(),
            "plateau": self._plateau.state_dict() if self._plateau is not None else {},
            "train_gflops": self._train_gflops,
            "skipped_steps": self._skipped_steps,
            "strategies": self._run.state_dict(),
            "head_only": self._fine_tuning.head_only,
            "within": self._within.state_dict() if self._within is not None else None,
        }

    def state_of_rank(self) -> dict[str, Untyped]:
        """What this rank's training stands at within an epoch, and what of `state` is another here; else nothing."""
        if self._within is None:
            return {}
        differs = differing(buffers_and(self.model, {"own": self._run.state_dict()["own"]}), self._context.group)
        return {"within": self._within.state_of_rank(self._context.device), "differs": differs}

    def load_state(self, state: Mapping[str, Untyped], of_rank: Mapping[str, Untyped]) -> None:
        state = with_leaves(state, of_rank.get("differs", {}))
        if self._fine_tuning.head_only and not state["head_only"]:
            self._join()
        self._run.load_state_dict(state["strategies"])
        self.model.load_state_dict(state["model"])
        self._train_state.optimizer.load_state_dict(state["optimizer"])
        self._train_state.scaler.load_state_dict(state["scaler"])
        if self._plateau is not None:
            self._plateau.load_state_dict(state["plateau"])
        self._train_gflops, self._skipped_steps = state["train_gflops"], state["skipped_steps"]
        if state["within"] is not None:
            self._interrupted = Interrupted.of(state["within"], of_rank["within"])
            self._strategies.resume_epoch(self._interrupted.epoch)
        with self._context.timed("compile_time_s"):
            self._capture()  # the optimizer's state has been replaced

    def first_learning_rate(self, epoch: int) -> float:
        """Of an epoch's first step; epochs count from 0."""
        return self._learning_rate(epoch * self._steps)

    def _learning_rate(self, step: int) -> float:
        factor = factor_in_training(self._context.job.configuration, step, steps_per_epoch=self._steps)
        factor *= self._plateau.factor if self._plateau is not None else 1.0
        return self._peak_rate * factor * self._run.learning_rate_ratio
