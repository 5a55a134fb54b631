"""The trials that run: what is shown of each, how long it has run, and what its epochs were expected to take."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tune_cnn.metrics import EpochPoint
from tune_cnn.reports.progress import RunningTrial
from tune_cnn.spec import StudySpec
from tune_cnn.trials.nodes.node_health import Happened, NodeEvent
from tune_cnn.trials.tune_adapter import Assignment


@dataclass(frozen=True, kw_only=True)
class _Run:
    assignment: Assignment
    shown: RunningTrial
    began_s: float  # on the monotonic clock
    expected_s: float | None  # an epoch's training, as known before; None: not known, or it has moved


class RunningTrials:
    """By their numbers."""

    def __init__(self, spec: StudySpec) -> None:
        self._spec = spec
        self._runs: dict[int, _Run] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def start(self, assignment: Assignment, expected_s: float | None) -> Assignment:
        params = assignment.params
        searched = {key: params[key] for key in self._spec.searched if key in params}
        epochs = self._spec.configuration(params).horizon
        shown = RunningTrial(number=assignment.trial, epoch=0, epochs=epochs, params=searched)
        began_s = time.monotonic()
        self._runs[assignment.trial] = _Run(assignment=assignment, shown=shown, began_s=began_s, expected_s=expected_s)
        return assignment

    def trained(self, trial: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """An epoch of one; nothing where it has left."""
        if (run := self._runs.get(trial)) is not None:
            self._runs[trial] = replace(run, shown=replace(run.shown, epoch=epoch, metrics=metrics))

    def leave(self, trial: int) -> Assignment:
        """One has left its slot, and is not over."""
        return self._runs.pop(trial).assignment

    def end(self, trial: int) -> float | None:
        """How long one ran that is over, in seconds; None: it ran in no slot."""
        run = self._runs.pop(trial, None)
        return None if run is None else time.monotonic() - run.began_s

    def ages_s(self) -> list[float]:
        now_s = time.monotonic()
        return [now_s - run.began_s for run in self._runs.values()]

    def shown(self) -> list[RunningTrial]:
        return [run.shown for run in self._runs.values()]

    def time_ratio(self, event: NodeEvent, points: Mapping[int, Sequence[EpochPoint]]) -> float | None:
        """Of what an ended trial's epochs took to what was expected of them; None where either is not known."""
        if event.happened is not Happened.ENDED or event.trial is None:
            return None
        run, trained = self._runs.get(event.trial), points.get(event.trial)
        took_s = trained[-1].metrics.get("train_time_s") if trained else None
        if run is None or not run.expected_s or not trained or not took_s:
            return None
        return took_s / trained[-1].epoch / run.expected_s
