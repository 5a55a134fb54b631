"""InfoBatch (Qin et al., 2023, https://arxiv.org/abs/2303.04947): leave out what is learned already, without a bias."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tune_cnn.errors import SpecError, StrategyError
from tune_cnn.spec import Range, StudySpec
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.data.readers import Int64
from tune_cnn.training.strategies.framework.last_losses import LastLosses
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import TrainingRun
from tune_cnn.untyped import Untyped

LEAST_EPOCHS = 3  # one that sees all losses, one that leaves images out, one with all images at the end


class InfoBatch(Strategy):
    """Leave out some of the images whose last loss is small, and let those of them that are kept count for more.

    Qin et al., "InfoBatch: Lossless Training Speed Up by Unbiased Dynamic Data Pruning", ICLR 2024,
    https://arxiv.org/abs/2303.04947. At each epoch an image whose last loss lies under the mean is left out with
    probability `drop`; where it is kept, its loss is multiplied by 1/(1 − drop), so that the expected gradient of the
    epoch stays. The last epochs, from `until` on, use all images. The losses are those of the training steps: no pass
    is added for them.

    The paper draws for every image by itself. Here as many are left out as make up whole batches, because only a step
    that isn't taken saves time; each image under the mean has the same chance, and the factor is made of that chance.
    """

    name = "info_batch"
    paper = "Qin et al., 2023, https://arxiv.org/abs/2303.04947"
    saves = Saves.TIME
    sites = frozenset({Site.SAMPLES})
    knobs: ClassVar[Mapping[str, Knob]] = {
        "drop": Knob(
            allowed=Range(low=0.05, high=0.9), default=0.5, meaning="share left out of the images under the mean loss"
        ),
        "until": Knob(
            allowed=Range(low=0.1, high=1.0), default=0.875, meaning="share of the epochs that leave images out"
        ),
    }

    drop: float
    until: float

    def __init__(self, **knobs: object) -> None:
        super().__init__(**knobs)
        self._losses = LastLosses()
        self._weights_n = torch.empty(0)  # of each training image, in this epoch

    @classmethod
    def check(cls, spec: StudySpec, data: DataFacts) -> None:
        least = spec.dimension("epochs").smallest
        if least < LEAST_EPOCHS:
            raise SpecError(f"space.epochs: info_batch needs {LEAST_EPOCHS} epochs at least, got {least}; raise it")

    def prepare(self, run: TrainingRun) -> None:
        if run.epochs < LEAST_EPOCHS:
            raise StrategyError(f"info_batch: needs {LEAST_EPOCHS} epochs at least, got epochs={run.epochs}")
        self._losses.begin(run)

    def order(self, run: TrainingRun, epoch: int, positions_n: Int64) -> Int64:
        weights_n = torch.ones(len(run.train_images))
        if 0 < epoch < max(2, round(self.until * run.epochs)):
            pruning = prune(self._losses.read(), self.drop, run.batch_size, run.generator(self.name, epoch))
            weights_n = pruning.weights_n
            positions_n = positions_n[pruning.kept_n.numpy()[positions_n]]
        self._weights_n = weights_n.to(run.device)
        return positions_n

    def joined(self, run: TrainingRun, losses_n: Tensor) -> Tensor:
        positions_n = run.batch_positions_n
        self._losses.record(positions_n, losses_n)
        return (losses_n * self._weights_n[torch.from_numpy(positions_n).to(run.device)]).mean()

    def end_epoch(self, run: TrainingRun) -> None:
        self._losses.join(run)

    def state_dict(self) -> dict[str, Untyped]:
        return {"losses": self._losses.state_dict(), "weights": self._weights_n}

    def load_state_dict(self, run: TrainingRun, state: Mapping[str, Untyped]) -> None:
        self._losses.load_state_dict(run, state["losses"])
        self._weights_n = state["weights"].to(run.device, copy=True)


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """What an epoch learns from."""

    kept_n: Tensor  # whether an image is
    weights_n: Tensor  # what its loss is multiplied by


def prune(losses_n: Tensor, drop: float, batch_size: int, random: torch.Generator) -> Pruning:
    """Leave out about that share of the images under the mean loss, whole batches of them, each with the same chance.

    losses_n: NaN where there is none; such an image is kept. Never more than halfway from `drop` to all are left out.
    """
    below_n = losses_n < losses_n.nanmean()  # never of NaN
    below = int(below_n.sum())
    left_out = min(round(drop * below / batch_size), int((1 + drop) / 2 * below / batch_size)) * batch_size
    kept_n, weights_n = torch.ones_like(below_n), torch.ones_like(losses_n)
    if left_out:
        chosen_n = below_n.nonzero()[:, 0][torch.randperm(below, generator=random)[:left_out]]
        kept_n[chosen_n] = False
        weights_n[below_n] = below / (below - left_out)
    return Pruning(kept_n=kept_n, weights_n=weights_n)
