"""Trials that have begun and are in no slot: those that came back from one, and those of an earlier start."""

from collections.abc import Collection, Iterable, Mapping

from tune_cnn.records.rows import TrialRecord
from tune_cnn.study.machine import ACCELERATOR
from tune_cnn.trials.tune_adapter import Assignment
from tune_cnn.untyped import Plain

Phase = Mapping[str, Plain]


class BegunTrials:
    """They go on before any new one begins; first of all those that came back."""

    def __init__(self, unfinished: Iterable[TrialRecord], *, has_one_phase: bool) -> None:
        self._unfinished, self._has_one_phase = list(unfinished), has_one_phase
        self._back: list[Assignment] = []

    def come_back(self, assignment: Assignment) -> None:
        """After those that did before; in the phase that it ran in."""
        self._back.append(assignment)

    def take_back(self, without: Collection[int]) -> Assignment | None:
        """One that came back."""
        found = next((one for one in self._back if one.trial not in without), None)
        if found is not None:
            self._back.remove(found)
        return found

    def take_unfinished(self, phase: Phase) -> TrialRecord | None:
        """One of an earlier start."""
        found = next((trial for trial in self._unfinished if self._is_of(trial, phase)), None)
        if found is not None:
            self._unfinished.remove(found)
        return found

    def count(self, phase: Phase) -> int:
        return sum(self._is_of(trial, phase) for trial in self._unfinished)

    def left(self) -> list[int]:
        """Trials that came back and were not handed out again."""
        return [one.trial for one in self._back]

    def _is_of(self, trial: TrialRecord, phase: Phase) -> bool:
        """Whether it had the type, the GPU share and the power of this phase, or the study knows only one.

        A trial of before types were recorded has the type of any.
        """
        return self._has_one_phase or all(
            trial.extra.get(name) == value or (name == ACCELERATOR and trial.extra.get(name) is None)
            for name, value in phase.items()
        )
