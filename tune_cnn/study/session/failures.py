"""What failed and why: how often, which values of the space always, and when a search should pause over it."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from tune_cnn.errors import DIVERGED
from tune_cnn.front.confirmed import SeedRun
from tune_cnn.front.constraints import nothing_feasible
from tune_cnn.metrics import EpochPoint
from tune_cnn.records.rows import TrialRecord
from tune_cnn.records.store import Store
from tune_cnn.spec import StudySpec
from tune_cnn.states import TrialState

MOST = 5  # reasons that are told
LEAST = 2  # trials of a value that all failed before that is told: one says nothing

# Trials that fail alike before a search pauses. Few until one goes well: there is nothing to lose. Later more, and in a
# row: it has shown that it can go well, and a value of the space that always fails comes up again and again.
ALIKE_AT_START, ALIKE_LATER = 5, 10


def nothing_found(store: Store, spec: StudySpec) -> str:
    """No trial gave a point that counts."""
    trials, points = store.trials(spec.study), store.points(spec.study)
    told = [f"study {spec.study!r}: none of {len(trials)} trials gave a point that counts:"]
    told += _counted(trial.reason or trial.state for trial in trials)
    told += [why] if points and (why := _missed(points, spec)) else []
    return "\n".join(told)


def nothing_confirmed(runs: Sequence[SeedRun], spec: StudySpec) -> str:
    """Every run failed."""
    told = [f"study {spec.study!r}: nothing is confirmed, because every run failed; a larger --seeds adds runs:"]
    return "\n".join(told + _counted(run.reason or run.state for run in runs))


def failures(trials: Sequence[TrialRecord], spec: StudySpec) -> list[str]:
    """What failed beside what went well, a line each: how often and why, and the values with which all did."""
    failed = [trial for trial in trials if trial.state.is_failure]
    if not failed:
        return []
    ended = sum(trial.state.has_ended for trial in trials)
    told = [f"{len(failed)} of {ended} trials failed:"]
    told += _counted(trial.reason or trial.state for trial in failed)
    return told + _lost_values(trials, spec)


def paused(study: str, reasons: Sequence[str], again: str) -> str:
    """Why a search does not go on by itself: trials failed for these reasons, which are one."""
    return (
        f"study {study!r}: is paused, as {len(reasons)} trials failed alike: {reasons[-1]}\n"
        f"Mend that and give the same command again, which tries them again:  {again}"
    )


class AlikeFailures:
    """Failures that are one and the same, as the trials of a search end: all of them before one goes well, and later
    those in a row."""

    def __init__(self, *, went_well: bool = False) -> None:
        """`went_well`: some trial of the study has."""
        self._alike: dict[str, list[str]] = {}  # reasons that are one, by their signature
        self._went_well = went_well

    @property
    def reasons(self) -> list[str]:
        """Those of the most trials that failed alike."""
        return max(self._alike.values(), key=len, default=[])

    @property
    def pausing(self) -> bool:
        """Whether the search should pause."""
        return len(self.reasons) >= (ALIKE_LATER if self._went_well else ALIKE_AT_START)

    def end(self, state: TrialState, reason: str | None) -> None:
        """A trial has ended. What its configuration itself brings about doesn't count: too little memory, and training
        that diverges."""
        if state.has_result:
            self._went_well = True
            self._alike.clear()
        elif state is TrialState.FAILED and reason is not None and DIVERGED not in reason:
            signature = _signature(reason)
            if self._went_well and signature not in self._alike:
                self._alike.clear()
            self._alike.setdefault(signature, []).append(reason)


def is_paused(trials: Iterable[TrialRecord]) -> bool:
    """Whether the trials that ended last have failed alike, so that a search paused over them."""
    row = AlikeFailures()
    for trial in sorted((one for one in trials if one.ended is not None), key=lambda one: str(one.ended)):
        row.end(trial.state, trial.reason)
    return row.pausing


def may_go_well(trial: TrialRecord) -> bool:
    """Whether a failed trial may be tried again once something was mended: it failed of no fault of its own."""
    return trial.state is TrialState.FAILED and DIVERGED not in (trial.reason or "")


def _signature(reason: str) -> str:
    return re.sub(r"(/[^\s'\":,;)]+)+|0x[0-9a-fA-F]+|\d+", "#", reason)


def _counted(reasons: Iterable[str]) -> list[str]:
    """The most frequent first, alike ones under the first of them."""
    first: dict[str, str] = {}
    counts = Counter(first.setdefault(_signature(reason), reason) for reason in reasons)
    told = [f"  {count} × {reason}" for reason, count in counts.most_common(MOST)]
    more = len(counts) - len(told)
    return told + ([f"  and {more} other reasons"] if more else [])


def _lost_values(trials: Sequence[TrialRecord], spec: StudySpec) -> list[str]:
    """Values of a choice with which every trial failed, though others of that choice went well."""
    told = []
    for key in spec.searched:
        if not spec.dimension(key).is_listed:
            continue
        went = Counter(trial.params[key] for trial in trials if trial.state.has_result and key in trial.params)
        fell = Counter(trial.params[key] for trial in trials if trial.state.is_failure and key in trial.params)
        told += [
            f"  all {count} trials with {key}={value} failed"
            for value, count in fell.items()
            if went and not went[value] and count >= LEAST
        ]
    return told


def _missed(points: Iterable[EpochPoint], spec: StudySpec) -> str | None:
    why = nothing_feasible(list(points), spec.bounds, spec.user_metrics)
    return why and f"The constraints: {why}. Loosen them in a new study, or search on with a larger budget."
