"""Which runs of a question are still to be done, and as which trials: pure, from what is stored."""

from collections.abc import Sequence

from tune_cnn.records.document import StudyArchive
from tune_cnn.records.rows import TrialRecord
from tune_cnn.study.questions.question import Question, Run

RUN = "run"  # of a trial's extra: the key of its run


def trial_of(archive: StudyArchive, run: Run) -> TrialRecord | None:
    """The trial that a run has become."""
    return next((trial for trial in archive.trials if trial.extra.get(RUN) == run.key), None)


def left(question: Question, archive: StudyArchive) -> list[tuple[int, Run]]:
    """The runs that have not ended, in their order, each with the number of its trial: those begun keep theirs."""
    numbers = {trial.extra.get(RUN): trial.number for trial in archive.trials}
    ended = {trial.extra.get(RUN) for trial in archive.trials if trial.state.has_ended}
    following = max(numbers.values(), default=-1) + 1
    todo = []
    for run in question.runs(archive):
        if run.key in ended:
            continue
        if run.key not in numbers:
            numbers[run.key], following = following, following + 1
        todo.append((numbers[run.key], run))
    return todo


def foreseen(question: Question, archive: StudyArchive) -> list[Run]:
    """The runs that have not ended, with those that are sure to follow."""
    ended = {trial.extra.get(RUN) for trial in archive.trials if trial.state.has_ended}
    return [run for run in question.foreseen(archive) if run.key not in ended]


def counted(question: Question, archive: StudyArchive) -> tuple[int, int]:
    """How many of the runs known so far have ended, and how many there are."""
    runs: Sequence[Run] = question.runs(archive)
    return len(runs) - len(left(question, archive)), len(runs)
