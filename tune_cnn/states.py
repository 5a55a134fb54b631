"""How studies, their trials and the runs that confirm their points can stand."""

from enum import StrEnum


class StudyState(StrEnum):
    """A study's."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class TrialState(StrEnum):
    """A trial's. One that is interrupted is unfinished: the store keeps it as running, and it is resumed."""

    RUNNING = "running"
    COMPLETE = "complete"  # trained to its horizon
    STOPPED = "stopped"  # by the search, with the true points that it reached
    FAILED = "failed"
    INFEASIBLE = "infeasible"  # it needs more memory than there is
    INTERRUPTED = "interrupted"

    @property
    def has_ended(self) -> bool:
        return self not in {TrialState.RUNNING, TrialState.INTERRUPTED}

    @property
    def has_result(self) -> bool:
        """Whether its points are its result; what failed says nothing of what its configuration is worth."""
        return self in {TrialState.COMPLETE, TrialState.STOPPED}

    @property
    def is_failure(self) -> bool:
        return self in {TrialState.FAILED, TrialState.INFEASIBLE}


class RunState(StrEnum):
    """A run's that trains a point of the front again."""

    PLANNED = "planned"
    COMPLETE = "complete"
    FAILED = "failed"
    INFEASIBLE = "infeasible"

    @property
    def is_failure(self) -> bool:
        return self in {RunState.FAILED, RunState.INFEASIBLE}
