"""The made-up study confirmed by made-up trainings."""

from collections.abc import Callable
from pathlib import Path

from study.made_up import session_of, spec_with
from tune_cnn.front.confirmed import SeedRun
from tune_cnn.records.store import Store
from tune_cnn.states import RunState
from tune_cnn.study.archive import read_archive
from tune_cnn.study.confirming.plan import plan, settings
from tune_cnn.study.confirming.runs import confirm_runs
from tune_cnn.study.session.session import Report

SPEC_OF = spec_with()
OBJECTIVES = SPEC_OF.objective_metrics
# The made-up front: trial 0 at epoch 1 (0.5, 1 s) and 2 (0.8, 2 s), trial 1 at epoch 2 (0.95, 8 s).
GIVEN = {(0, 1): (0.5, 1.0), (0, 2): (0.78, 2.2), (1, 2): (0.93, 8.5)}


class Training:
    """Gives what was made up for a run; tells which runs it was asked for."""

    def __init__(self, *, dies_at: int | None = None, fails: tuple[int, int] | None = None) -> None:
        self.asked: list[tuple[int, int, int]] = []
        self._dies_at, self._fails = dies_at, fails

    def train(self, run: SeedRun) -> SeedRun | None:
        if len(self.asked) == self._dies_at:
            raise KeyboardInterrupt  # as abrupt as a kill: nothing is tidied up
        self.asked.append((run.trial, run.epoch, run.number))
        if run.key == self._fails:
            return SeedRun(**{**vars(run), "state": RunState.INFEASIBLE, "reason": "out of memory"})
        accuracy, seconds = GIVEN[run.key]
        metrics = {
            "accuracy": accuracy + 0.01 * run.number,
            "train_time_s": seconds * (1 + 0.1 * run.number),
            "test_accuracy": accuracy - 0.02,
            "peak_memory_mib": 100.0,
        }
        return SeedRun(**{**vars(run), "state": RunState.COMPLETE, "metrics": metrics})


def confirm(
    home: Path,
    training: Training,
    *,
    points: int = 3,
    seeds: int = 3,
    report: Report = lambda line: None,
    stopping: Callable[[], bool] = lambda: False,
    ended_here: Callable[[SeedRun], None] = lambda run: None,
) -> bool:
    store = Store(home)
    try:
        archive = read_archive("made-up", home, None)
        runs = plan(archive, SPEC_OF, settings(SPEC_OF, points, seeds))
        store.confirmations.plan("made-up", runs)
        session = session_of(store, SPEC_OF, home, report)
        return confirm_runs(session, runs, training, stopping=stopping, ended_here=ended_here)
    finally:
        store.close()
