"""What a search tells of itself while it runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tune_cnn.metrics import EpochPoint, Metric
from tune_cnn.untyped import Plain


@dataclass(frozen=True, kw_only=True)
class RunningTrial:
    number: int
    epoch: int  # epochs ended so far
    epochs: int
    params: Mapping[str, Plain] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)  # of the last epoch; empty before the first ended


@dataclass(frozen=True, kw_only=True)
class Progress:
    study: str
    objectives: Sequence[Metric]
    trials_done: int  # ended in any way, the failed ones among them
    trials_running: int = 0
    trials_failed: int = 0
    trials_stopped: int = 0  # before their horizon, by the stopper or as the budget was spent
    trials_budget: int | None = None
    hours_budget: float | None = None
    epochs_budget: int | None = None
    elapsed_s: float = 0.0  # searched so far, over all resumes, as `hours_budget` counts
    time_left_s: float | None = None  # None: not known yet
    hypervolume: float | None = None
    hypervolume_trace: Sequence[float] = ()
    points: int = 0
    front: Sequence[EpochPoint] = ()
    running: Sequence[RunningTrial] = ()
    slots: int = 1
    mlflow: str | None = None  # "12 waiting: server unreachable"
    message: str | None = None  # "waiting for 2 of 2 slots"
    report: str | None = None  # where the report lies, once there is one

    @property
    def share_done(self) -> float | None:
        """Of the budget, whichever of trials, hours and epochs is nearer to its end; None where there is no budget."""
        shares = []
        if self.trials_budget:
            shares.append(self.trials_done / self.trials_budget)
        if self.hours_budget:
            shares.append(self.elapsed_s / (self.hours_budget * 3600))
        if self.epochs_budget:
            shares.append(self.points / self.epochs_budget)
        return min(1.0, max(shares)) if shares else None
