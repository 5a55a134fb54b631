"""A study as its report shows it: plain data, from whatever holds the study."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tune_cnn.front.confirmed import Confirmed
from tune_cnn.metrics import EpochPoint, Metric
from tune_cnn.spec import Choice, Range
from tune_cnn.states import TrialState
from tune_cnn.untyped import Plain


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    number: int
    params: Mapping[str, Plain]
    state: TrialState
    reason: str | None = None  # why it ended before its time, in words
    metrics: Mapping[str, float] = field(default_factory=dict)  # of its last epoch point; empty where it has none


@dataclass(frozen=True, kw_only=True)
class StudyReport:
    study: str
    description: str
    spec_yaml: str
    state: str
    started: datetime | None
    elapsed_s: float
    objectives: Sequence[Metric]
    searched: Mapping[str, Choice | Range]
    points: Sequence[EpochPoint]
    front: Sequence[EpochPoint]
    trials: Sequence[TrialRow]
    export: Callable[[int, int], str]  # the command that exports the point of a trial at an epoch
    reference: Mapping[str, float] | None = None  # of the hypervolume, as stored; None: taken from the points
    importances: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # by objective and parameter
    metrics: Mapping[str, Metric] = field(default_factory=dict)  # the user's own
    hardware: Mapping[str, Plain] = field(default_factory=dict)
    versions: Mapping[str, Plain] = field(default_factory=dict)
    accelerators: Mapping[str, Mapping[str, Plain]] = field(default_factory=dict)  # of several types, each's hardware
    type_of: Mapping[int, str] = field(default_factory=dict)  # the type that each trial ran on, where it is known
    notes: Sequence[str] = ()
    commands: Sequence[str] = ()  # what may be typed next
    runs_page: str | None = None  # where MLflow's server shows the runs
    confirmed: Sequence[Confirmed] = ()  # points trained again over several seeds
    failed: Mapping[tuple[int, int], Sequence[str]] = field(default_factory=dict)  # those whose every run failed: why

    @property
    def params_by_trial(self) -> Mapping[int, Mapping[str, Plain]]:
        return {trial.number: trial.params for trial in self.trials}
