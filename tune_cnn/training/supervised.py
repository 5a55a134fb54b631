"""The training that the house itself does: a classifier, by cross-entropy, from its configuration."""

import math
from collections.abc import Mapping
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tune_cnn.errors import TrialError
from tune_cnn.training.context import TrialContext
from tune_cnn.training.evaluation import evaluate
from tune_cnn.training.gradient_underflow import gradient_underflow_pct
from tune_cnn.training.loop import EpochSums, Learner, train_steps
from tune_cnn.training.meters.meters import Meters
from tune_cnn.training.models.registry import ModelFacts, build_model
from tune_cnn.training.optimisers import make_optimiser
from tune_cnn.training.schedules import Plateau, learning_rate_factor, scaled_learning_rate
from tune_cnn.training.user_metrics import find_metrics, measure_metrics
from tune_cnn.training.warm_up import batch_sizes, compiled, needs_warm_up, warm_up


class SupervisedTraining:
    """One trial's model, optimiser, schedule and loader. Torch's generators must be seeded before it is made."""

    def __init__(self, context: TrialContext, model_facts: ModelFacts) -> None:
        self._context = context
        self._model_facts = model_facts
        self._user_metrics = find_metrics(context)
        self.model = built_model(context)
        configuration = context.job.configuration
        with context.timed("compile_time_s"):
            if needs_warm_up(context):
                sizes = batch_sizes(len(context.images.train), configuration.batch_size, context.group.ranks)
                warm_up(self.model, context, sizes)
        if context.device.type == "cuda":
            torch.cuda.empty_cache()  # what the copy left would count as this trial's memory
        self._peak_rate = scaled_learning_rate(configuration)
        self._learner = Learner(
            model=self._wrapped(),
            optimiser=make_optimiser(self.model, configuration, learning_rate=self._peak_rate),
            scaler=context.precision.scaler(context.device),
            precision=context.precision,
            device=context.device,
            learning_rate=self._learning_rate,
            label_smoothing=configuration.label_smoothing,
            gradient_clip=configuration.gradient_clip,
        )
        self._plateau = Plateau.over(configuration.epochs) if configuration.schedule == "plateau" else None
        self._images_seen = 0  # over all ranks
        self._skipped_steps = 0
        self._loader = context.started_loader()

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """Train epoch number `epoch`, from 0, and evaluate: this rank's metrics, to be reduced."""
        context, meters = self._context, self._context.meters
        meters.epoch()
        with meters.training():
            batches = self._loader.epoch(epoch)
            sums = train_steps(self._learner, batches, meters, first_step=epoch * self._loader.steps)
        metrics = self._training_metrics(epoch, sums)
        with context.timed("eval_time_s"):
            evaluation = evaluate(self.model, context, context.images.validation)
            _check_finite("val_loss", evaluation.loss, epoch)
            metrics |= {"val_loss": evaluation.loss, "accuracy": evaluation.accuracy}
            metrics |= measure_metrics(self._user_metrics, self.model, context)
        if self._plateau is not None:
            self._plateau.observe(evaluation.loss)
        return metrics

    def probe(self, steps: int) -> int:
        """Train that many steps of the first epoch, on the meters; returns how many steps an epoch has."""
        meters = self._context.meters
        meters.epoch()
        with meters.training():
            train_steps(self._learner, islice(self._loader.epoch(0), steps), meters, first_step=0)
        return self._loader.steps

    def _training_metrics(self, epoch: int, sums: EpochSums) -> dict[str, float]:
        totals = torch.stack([sums.loss, sums.loss.new_tensor(float(sums.images)), sums.skipped_steps.double()])
        loss, images, skipped = self._context.group.add_up(totals).tolist()
        train_loss = loss / images
        _check_finite("train_loss", train_loss, epoch)
        self._images_seen += round(images)
        metrics = {
            "train_loss": train_loss,
            "parameters": float(self._model_facts.parameters),
            "inference_gflops": self._model_facts.inference_gflops,
            "train_gflops": self._model_facts.train_gflops * self._images_seen,
        }
        if self._context.precision.scales_loss:
            self._skipped_steps += round(skipped) // self._context.group.ranks  # ranks skip the same steps
            metrics["skipped_steps"] = float(self._skipped_steps)
            assert sums.last_batch is not None
            metrics["grad_underflow_pct"] = gradient_underflow_pct(
                self.model,
                *sums.last_batch,
                precision=self._context.precision,
                loss_scale=self._learner.scaler.get_scale(),
            )
        return metrics

    @property
    def meters(self) -> tuple[Meters, ...]:
        return (self._context.meters,)

    def read_meters(self) -> dict[str, float]:
        return self._context.meters.read()

    def state(self) -> dict[str, Any]:
        """All that decides how the training goes on; equal on all ranks."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self._learner.optimiser.state_dict(),
            "scaler": self._learner.scaler.state_dict(),
            "plateau": self._plateau.state_dict() if self._plateau is not None else {},
            "images_seen": self._images_seen,
            "skipped_steps": self._skipped_steps,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self._learner.optimiser.load_state_dict(state["optimiser"])
        self._learner.scaler.load_state_dict(state["scaler"])
        if self._plateau is not None:
            self._plateau.load_state_dict(state["plateau"])
        self._images_seen, self._skipped_steps = state["images_seen"], state["skipped_steps"]

    def close(self) -> None:
        self._loader.close()

    def _wrapped(self) -> nn.Module:
        group, module = self._context.group, compiled(self.model, self._context)
        if group.ranks == 1:
            return module
        # DDP averages gradients over ranks, whose shares of a batch are equal: the mean over the global batch.
        return DistributedDataParallel(
            module,
            device_ids=[self._context.device] if self._context.device.type == "cuda" else None,
            gradient_as_bucket_view=True,
            find_unused_parameters=bool(self._model_facts.unused_parameters),
        )

    def _learning_rate(self, step: int) -> float:
        configuration = self._context.job.configuration
        factor = learning_rate_factor(
            configuration.schedule,
            step,
            steps_per_epoch=self._loader.steps,
            epochs=configuration.epochs,
            warmup_epochs=configuration.warmup_epochs,
        )
        return self._peak_rate * factor * (self._plateau.factor if self._plateau is not None else 1.0)


def built_model(context: TrialContext) -> nn.Module:
    """The study's model with the trial's arguments, on the device, in the trial's memory format."""
    job, facts = context.job, context.images.facts
    model = build_model(
        job.model.name,
        num_classes=facts.num_classes,
        in_channels=facts.in_channels,
        image_size=facts.image_size,
        weights=job.model.weights,
        arguments=job.configuration.model,
    )
    layout = torch.channels_last if job.configuration.channels_last else torch.preserve_format
    return model.to(context.device, memory_format=layout)  # type: ignore[call-overload]  # the stub lacks this form


def _check_finite(name: str, value: float, epoch: int) -> None:
    if not math.isfinite(value):
        raise TrialError(f"{name} became {value} in epoch {epoch + 1}: the training has diverged")
