"""Regime adaptation (Hoffer, Hubara & Soudry, 2017, https://arxiv.org/abs/1705.08741)."""

from collections.abc import Mapping
from typing import ClassVar

from tune_cnn.errors import SpecError, StrategyError
from tune_cnn.spec import Range, StudySpec
from tune_cnn.spec.configuration import REGIME_BASE_BATCH
from tune_cnn.spec.strategies import Knob, Saves, Site
from tune_cnn.training.data.facts import DataFacts
from tune_cnn.training.strategies.framework.strategy import Strategy
from tune_cnn.training.strategies.framework.training_run import TrainingRun

BASE_BATCH = "strategies.regime_adaptation.base_batch"


class RegimeAdaptation(Strategy):
    """Train a larger batch for more epochs, so that it takes as many steps.

    Hoffer, Hubara & Soudry, "Train longer, generalize better: closing the generalization gap in large batch training of
    neural networks", 2017, arXiv 1705.08741. The horizon is `epochs` × batch_size / `base_batch`, rounded up, and
    schedule and warm-up stretch with it: `Configuration.horizon` holds it, so this class has nothing to do but to see
    that there is something to stretch. The authors raise the learning rate by the root of the batch: `lr_rule: sqrt`.
    """

    name = "regime_adaptation"
    paper = "Hoffer, Hubara & Soudry, 2017, https://arxiv.org/abs/1705.08741"
    saves = Saves.DATA
    sites = frozenset({Site.HORIZON})
    capturable = True
    knobs: ClassVar[Mapping[str, Knob]] = {
        "base_batch": Knob(
            allowed=Range(low=1, high=65536), default=REGIME_BASE_BATCH, meaning="batch for which `epochs` is meant"
        )
    }

    base_batch: int

    @classmethod
    def check(cls, spec: StudySpec, data: DataFacts) -> None:
        batch = spec.dimension("batch_size").smallest
        base = spec.dimension(BASE_BATCH).largest
        if batch <= base:
            raise SpecError(
                f"space.{BASE_BATCH}: must be less than every batch of the space, the smallest of which is {batch}, "
                f"got {base}; lower it, or search larger batches"
            )

    def prepare(self, run: TrainingRun) -> None:
        if run.configuration.batch_size <= self.base_batch:
            raise StrategyError(
                f"regime_adaptation: a batch of {run.configuration.batch_size} is no larger than "
                f"base_batch={self.base_batch}: there is nothing to stretch"
            )
