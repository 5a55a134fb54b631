"""Inconsistent SGD (Wang, Yang, Min, Chakradhar, 2016, https://arxiv.org/abs/1603.05544); patented in the US."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from tune_cnn.spec import Range
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.data.order import epoch_order
from tune_cnn.training.data.readers import Int64
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import TrainingRun
from tune_cnn.untyped import Untyped


class Isgd(Strategy):
    """Step again on batches whose loss is far above the others' (covered by a patent in the United States).

    Wang, Yang, Min, Chakradhar, "Accelerating Deep Neural Network Training with Inconsistent Stochastic Gradient
    Descent", 2016, https://arxiv.org/abs/1603.05544. A patent covers this method in the United States: US 10,572,800;
    ask a lawyer before you use it there. Batches are the same in every epoch, in the same order. Where the loss ψ of
    one lies above the mean of the last epoch's batches by more than `sigmas` of their deviations, the limit, it is
    stepped again, until its loss is below the limit or `most` times: w ← w − ζ[(ψ − limit)·∇ψ + (ε/n)·(w − w₀)], n
    being the number of weights and w₀ what they were before these steps. ζ is `rate` times the step's learning rate.
    These steps are in training time and in the count of operations.
    """

    name = "isgd"
    paper = "Wang, Yang, Min & Chakradhar, 2016, https://arxiv.org/abs/1603.05544"
    saves = Saves.TIME
    sites = frozenset({Site.STEP})
    knobs: ClassVar[Mapping[str, Knob]] = {
        "sigmas": Knob(
            allowed=Range(low=0.0, high=10.0), default=3.0, meaning="deviations above the mean at which the limit lies"
        ),
        "most": Knob(allowed=Range(low=1, high=20), default=5, meaning="most further steps on a batch"),
        "epsilon": Knob(
            allowed=Range(low=0.0, high=10.0),
            default=0.1,
            meaning="strength with which weights are held where they were",
        ),
        "rate": Knob(
            allowed=Range(low=0.01, high=10.0, log=True), default=1.0, meaning="rate of these steps, by the step's own"
        ),
    }
    forbids: ClassVar[Mapping[str, str]] = {
        name: f"isgd compares the losses of the same batches in every epoch, and {name} chooses the images"
        for name in ("minibatch_order", "info_batch", "selective_backprop")
    } | {"standardization_loss": "isgd steps again by the loss alone, and standardization_loss adds a term of one pass"}

    sigmas: float
    most: int
    epsilon: float
    rate: float

    def __init__(self, **knobs: object) -> None:
        super().__init__(**knobs)
        self._last_losses: list[float] = []  # of as many batches as an epoch has, over all ranks
        self._batch: Batch | None = None
        self._loss: Tensor | None = None

    def order(self, run: TrainingRun, epoch: int, positions_n: Int64) -> Int64:
        return epoch_order(len(run.train_images), run.seed, 0)

    def batch(self, run: TrainingRun, batch: Batch) -> Batch:
        self._batch = batch
        return batch

    def penalty(self, run: TrainingRun, loss: Tensor) -> Tensor | None:
        self._loss = loss.detach()
        return None

    def after_step(self, run: TrainingRun) -> None:
        assert self._batch is not None and self._loss is not None, "a step comes first"
        steps, loss = run.steps_per_epoch, _mean(run, self._loss)
        if len(self._last_losses) >= steps and math.isfinite(loss):
            limit = control_limit(self._last_losses, self.sigmas)
            if loss > limit:
                self._step_again(run, self._batch, limit)
        self._last_losses = [*self._last_losses, loss][-steps:]

    def _step_again(self, run: TrainingRun, batch: Batch, limit: float) -> None:
        learning = [p for p in run.model.parameters() if p.requires_grad]
        before = [p.detach().clone() for p in learning]
        group = run.optimizer.param_groups[0]
        rate = self.rate * float(group["lr"]) / float(group["lr_ratio"])
        for _ in range(self.most):
            loss = _mean(run, run.backward(batch))
            run.count_pass(batch.images_nchw, backward=True)
            if not limit < loss < math.inf:
                break
            gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in learning]
            conserve(learning, gradients, before, excess=loss - limit, rate=rate, epsilon=self.epsilon)
        run.optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Untyped]:
        return {"last_losses": self._last_losses}

    def load_state_dict(self, run: TrainingRun, state: Mapping[str, Untyped]) -> None:
        self._last_losses = list(state["last_losses"])


def control_limit(losses: Sequence[float], sigmas: float) -> float:
    """Mean and so many standard deviations of the losses."""
    mean = math.fsum(losses) / len(losses)
    return mean + sigmas * math.sqrt(math.fsum((loss - mean) ** 2 for loss in losses) / len(losses))


def conserve(
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor],
    before: Sequence[Tensor],
    *,
    excess: float,
    rate: float,
    epsilon: float,
) -> None:
    """w ← w − ζ[(ψ − limit)·∇ψ + (ε/n)·(w − w₀)], in place; excess: ψ − limit."""
    count = sum(weight.numel() for weight in weights)
    with torch.no_grad():
        for weight, gradient, former in zip(weights, gradients, before, strict=True):
            weight.sub_(rate * (excess * gradient + epsilon / count * (weight - former)))


def _mean(run: TrainingRun, loss: Tensor) -> float:
    """Over the ranks; waits for the device."""
    return float(run.add_up(loss)) / run.group.ranks
