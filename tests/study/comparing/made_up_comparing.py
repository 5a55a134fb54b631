"""Comparisons in a store, whose runs are made up: what a cell gives is a function of its levels and its block."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from study.made_up import session_of
from tune_cnn.records.document import StudyArchive
from tune_cnn.records.store import Store
from tune_cnn.spec import StudySpec
from tune_cnn.spec.strategies import Cards
from tune_cnn.states import StudyState, TrialState
from tune_cnn.study.archive import read_archive
from tune_cnn.study.comparing.asked import Asked, asked_of
from tune_cnn.study.comparing.cells import Cell, cells_of
from tune_cnn.study.comparing.combining import apart_of
from tune_cnn.study.comparing.comparison import Comparison
from tune_cnn.study.questions.left import left
from tune_cnn.study.questions.opening import info_of
from tune_cnn.study.questions.question import Here, Run

RAW: dict[str, Any] = {
    "study": "made-up",
    "data": {"name": "digits"},
    "model": {"name": "small_cnn"},
    "space": {"epochs": 4, "batch_size": [32, 64], "learning_rate": 0.1},
    "budget": {"trials": 1},
}
Made = Callable[[Run], tuple[float, float]]  # accuracy and seconds an epoch; (nan, …) fails


def asked(over: str, *values: str, raw: Mapping[str, Any] = RAW, **how: Any) -> tuple[StudySpec, Asked]:
    return asked_of(raw, "spec", over, values, **how)


class MadeUp(Comparison):
    """A comparison that trains nothing: `made` says what a run gives. Tells which runs it did."""

    def __init__(
        self, what: Asked, made: Made, *, dies_at: int | None = None, once_s: Callable[[Run], float] = lambda run: 0.0
    ) -> None:
        """`once_s`: seconds that the first epoch of a run takes beside its steps."""
        super().__init__(what)
        self.did: list[str] = []
        self._made, self._dies_at, self._once_s = made, dies_at, once_s

    def work(self, here: Here, number: int, run: Run) -> None:
        if len(self.did) == self._dies_at:
            raise KeyboardInterrupt  # as abrupt as a kill: nothing is tidied up
        self.did.append(run.key)
        store, study = here.session.store, here.session.study
        accuracy, epoch_s = self._made(run)
        if accuracy != accuracy:
            store.end_trial(study, number, TrialState.FAILED, "ValueError: made up")
            return
        epochs = run.extra.get("stop_epoch") or here.session.spec.configuration(run.params).epochs
        for epoch in range(1, epochs + 1):
            time_s = epoch * epoch_s + self._once_s(run)
            metrics = {"accuracy": accuracy * epoch / epochs, "train_time_s": time_s, "train_loss": 1 / epoch}
            store.add_point(study, number, epoch, metrics)
        store.end_trial(study, number, TrialState.COMPLETE)


def create(home: Path, spec: StudySpec, what: Asked, cells: list[Cell], cards: Cards | None = None) -> None:
    """The comparison's study, nothing of it done."""
    settled = {"cells": [cell.as_plain() for cell in cells], "apart": apart_of(list(cards or {}), cards or {})}
    store = Store(home)
    try:
        info = info_of({"data": {}, "hardware": {"cpu": "some"}}, Comparison(what), settled, again="tune-cnn compare")
        store.create_study(spec.study, spec.model_dump(), info=info)
    finally:
        store.close()


def work_through(home: Path, spec: StudySpec, question: MadeUp, *, most: int = 1000) -> StudyArchive:
    """Do what is left, as the frame does it; the study as it stands then."""
    from tune_cnn.study.questions.runs import Runs

    store = Store(home)
    try:
        session = session_of(store, spec, home)
        here = Here(session=session, checked=None, slots=None)  # type: ignore[arg-type]  # made-up runs need neither
        runs = Runs(here, question, stopping=lambda: len(question.did) >= most)
        runs.work_through()
        store.update_study(
            spec.study, state=StudyState.INTERRUPTED if _left(home, spec, question) else StudyState.FINISHED
        )
    finally:
        store.close()
    return read_archive(spec.study, home, None)


def _left(home: Path, spec: StudySpec, question: MadeUp) -> int:
    return len(left(question, read_archive(spec.study, home, None)))


def compared_study(home: Path, made: Made, over: str = "batch_size", *values: str, **how: Any) -> StudyArchive:
    """A whole comparison of the made-up spec."""
    spec, what = asked(over, *values, **how)
    create(home, spec, what, cells_of(what, spec, {}))
    return work_through(home, spec, MadeUp(what, made))
