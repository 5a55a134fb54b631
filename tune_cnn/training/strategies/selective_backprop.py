"""Selective backpropagation (Jiang et al., 2019, https://arxiv.org/abs/1910.00762): learn from the largest losses."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from tune_cnn.errors import StrategyError
from tune_cnn.spec import Range
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.data.loaders.batch import Batch
from tune_cnn.training.data.readers import Int64
from tune_cnn.training.strategies.framework.last_losses import LastLosses
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import TrainingRun
from tune_cnn.training.strategies.ghost_batch_norm import GhostBatchNormStrategy
from tune_cnn.untyped import Untyped


class SelectiveBackprop(Strategy):
    """Look at every image of a batch, and go backward with those that the net does worst on.

    Jiang et al., "Accelerating Deep Learning by Focusing on the Biggest Losers", 2019,
    https://arxiv.org/abs/1910.00762. An image is chosen with a probability that is a power of its loss's percentile
    among the last `history` ones: CDF(loss)^β, where β = 1/`keep` − 1, as then that share is chosen. With `every` above
    1 losses are looked at in every so many epochs, and those between choose by the last known ones, without a pass of
    their own (the paper's StaleSB). The looking is in training time and in the count of operations.

    The paper gathers chosen images until they make up a batch. Here a step takes the same share of each batch, drawn
    without replacement by these probabilities: steps stay alike, on all ranks. Percentiles begin anew with each epoch.
    """

    name = "selective_backprop"
    paper = "Jiang et al., 2019, https://arxiv.org/abs/1910.00762"
    saves = Saves.TIME
    sites = frozenset({Site.SAMPLES})
    knobs: ClassVar[Mapping[str, Knob]] = {
        "keep": Knob(allowed=Range(low=0.1, high=0.9), default=0.5, meaning="share of the images learned from"),
        "history": Knob(allowed=Range(low=1, high=65536), default=1024, meaning="losses that a percentile is among"),
        "every": Knob(
            allowed=Range(low=1, high=20), default=1, meaning="epochs from one look at the losses to the next"
        ),
    }

    keep: float
    history: int
    every: int

    def __init__(self, **knobs: object) -> None:
        super().__init__(**knobs)
        self._losses = LastLosses()
        self._history_n = torch.empty(0)

    def prepare(self, run: TrainingRun) -> None:
        kept = chosen(run.batch_size // run.group.ranks, self.keep)
        ghosts = run.strategies.get(GhostBatchNormStrategy.name)
        if ghosts is not None and kept < 2 * ghosts.size:
            raise StrategyError(
                f"selective_backprop: keep={self.keep} leaves {kept} images of a rank's batch, but "
                f"ghost_batch_norm needs two ghosts of {ghosts.size}; raise the batch, or lower ghost_batch_norm.size"
            )
        self._losses.begin(run)

    def start_epoch(self, run: TrainingRun, epoch: int) -> None:
        if epoch and self._looks(epoch) != self._looks(epoch - 1):
            run.new_shapes()

    def resume_epoch(self, run: TrainingRun, epoch: int) -> None:
        """All is in the state."""

    def order(self, run: TrainingRun, epoch: int, positions_n: Int64) -> Int64:
        if self._looks(epoch):
            return positions_n
        losses_n = self._losses.read()
        shares_n = percentiles(losses_n, losses_n)[torch.from_numpy(positions_n)]
        drawn_n = torch.rand(len(positions_n), generator=run.generator(self.name, epoch))
        taken_n: Int64 = positions_n[draw(shares_n, self.keep, drawn_n).numpy()]
        return taken_n

    def batch(self, run: TrainingRun, batch: Batch) -> Batch:
        if not self._looks(run.epoch):
            return batch
        losses_n = losses_of_images(run, batch)
        if self.every > 1:
            self._losses.record(run.batch_positions_n, losses_n)
        self._history_n = torch.cat([self._history_n.to(losses_n.device), losses_n])[-self.history :]
        random_n = torch.rand(len(losses_n)).to(run.device)  # of this rank's own generator
        chosen_n = draw(percentiles(losses_n, self._history_n), self.keep, random_n)
        return Batch(batch.images_nchw[chosen_n], batch.labels_n[chosen_n])

    def end_epoch(self, run: TrainingRun) -> None:
        self._history_n = torch.empty(0)
        if self.every > 1 and self._looks(run.epoch):
            self._losses.join(run)

    def _looks(self, epoch: int) -> bool:
        return epoch % self.every == 0

    def state_dict(self) -> dict[str, Untyped]:
        return {"losses": self._losses.state_dict(), "history": self._history_n}

    def load_state_dict(self, run: TrainingRun, state: Mapping[str, Untyped]) -> None:
        self._losses.load_state_dict(run, state["losses"])
        self._history_n = state["history"].to(run.device, copy=True)


def losses_of_images(run: TrainingRun, batch: Batch) -> Tensor:
    """Of each image, as the net is evaluated: no step's statistics, nothing dropped."""
    model, (images_nchw, labels_n) = run.model, batch
    run.count_pass(images_nchw)
    model.eval()
    try:
        with torch.no_grad(), run.autocast():
            logits = model(images_nchw)
    finally:
        model.train()
    return run.loss_of(logits, labels_n, reduction="none")


def percentiles(losses_n: Tensor, among_m: Tensor) -> Tensor:
    """The share of those that are no larger, for each; one that is not known counts as the largest."""
    known_m = among_m.nan_to_num(torch.inf).sort().values
    return torch.searchsorted(known_m, losses_n.nan_to_num(torch.inf).contiguous(), right=True) / len(known_m)


def chosen(images: int, keep: float) -> int:
    """How many of so many; two at least where there are two, for batch normalisation."""
    return max(min(2, images), round(keep * images))


def draw(percentiles_n: Tensor, keep: float, random_n: Tensor) -> Tensor:
    """Places of that share of the images in their order, drawn without replacement by percentile^(1/keep − 1).

    random_n: uniform in [0, 1). The largest of log(u)/weight are such a draw (Efraimidis & Spirakis, 2006).
    """
    weights_n = percentiles_n.clamp(min=1e-6) ** (1 / keep - 1)
    keys_n = random_n.clamp(min=1e-12).log() / weights_n
    return keys_n.topk(chosen(len(keys_n), keep)).indices.sort().values
