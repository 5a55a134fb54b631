"""Why a search or a confirmation gave nothing: what failed how often, and how near the rest came."""

from collections import Counter
from collections.abc import Iterable

from tune_cnn.front.constraints import nothing_feasible
from tune_cnn.metrics import EpochPoint
from tune_cnn.records.store import Store
from tune_cnn.spec import StudySpec

MOST = 5  # reasons that are told


def nothing_found(store: Store, spec: StudySpec) -> str:
    """No trial gave a point that counts."""
    trials, points = store.trials(spec.study), store.points(spec.study)
    told = [f"study {spec.study!r}: none of {len(trials)} trials gave a point that counts:"]
    told += _counted(trial.reason or trial.state for trial in trials)
    told += [why] if points and (why := _missed(points, spec)) else []
    return "\n".join(told)


def nothing_confirmed(store: Store, spec: StudySpec) -> str:
    """Every run failed."""
    runs = store.confirmations.runs(spec.study)
    told = [f"study {spec.study!r}: nothing is confirmed, because every run failed; a larger --seeds adds runs:"]
    return "\n".join(told + _counted(run.reason or run.state for run in runs))


def _counted(reasons: Iterable[str]) -> list[str]:
    """The most frequent first."""
    return [f"  {count} × {reason}" for reason, count in Counter(reasons).most_common(MOST)]


def _missed(points: Iterable[EpochPoint], spec: StudySpec) -> str | None:
    why = nothing_feasible(list(points), spec.bounds, spec.user_metrics)
    return why and f"The constraints: {why}. Loosen them in a new study, or search on with a larger budget."
