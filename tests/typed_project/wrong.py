"""Wrong uses: each line that ends in `wrong:` must give this error of mypy's and this of pyright's, and no other."""

from collections.abc import Mapping
from typing import ClassVar

import tune_cnn
from tune_cnn import Batch, Knob, Range, Rank, Saves, Site, Strategy, Study, TrainingRun

study = Study("a")
study.nonsense()  # wrong: attr-defined reportAttributeAccessIssue
Study()  # wrong: call-arg reportCallIssue
study.front().best(max_time="x")  # wrong: call-arg reportCallIssue
study.front().best(max_time_s="x")  # wrong: arg-type reportArgumentType
study.front().best().config = {}  # wrong: misc reportAttributeAccessIssue
written: int = study.front().best().to_yaml()  # wrong: assignment reportAssignmentType
studies = tune_cnn.Studies  # wrong: attr-defined reportAttributeAccessIssue
Knob(allowed=[1, 2], default=1, meaning="a list is no choice")  # wrong: arg-type reportArgumentType
Range(low="1", high=2)  # wrong: arg-type reportArgumentType
Batch()  # wrong: call-arg reportCallIssue


class Wrong(Strategy):
    """Every hook of another signature than the search calls it with."""

    paper = 2017  # wrong: assignment reportAssignmentType
    saves = "data"  # wrong: assignment reportAssignmentType
    sites = frozenset({Site.SAMPLE})  # wrong: attr-defined reportAttributeAccessIssue
    knobs: ClassVar[Mapping[str, Knob]] = {"side": Range(low=1, high=2)}  # wrong: dict-item reportAssignmentType

    def prepare(self, run: TrainingRun, epoch: int) -> None:  # wrong: override reportIncompatibleMethodOverride
        run.replace()  # wrong: attr-defined reportAttributeAccessIssue

    def batch(self, run: TrainingRun, batch: Batch) -> Saves:  # wrong: override reportIncompatibleMethodOverride
        return Saves.DATA

    def start_epoch(self, run: TrainingRun) -> None:  # wrong: override reportIncompatibleMethodOverride
        """The epoch's number is missing."""


def training(rank: Rank) -> None:
    """Asks its rank for what it hasn't."""
    print(rank.learning_rate)  # wrong: attr-defined reportAttributeAccessIssue
