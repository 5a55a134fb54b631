"""A question's runs, worked through one after another or several at a time, until nothing more is known to be done."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace

from tune_cnn.states import TrialState
from tune_cnn.study.questions.left import RUN, left
from tune_cnn.study.questions.question import Here, Question, Run
from tune_cnn.study.session.failures import AlikeFailures

LEFT_S = 5.0  # for the lanes to hear that they are left: whoever waits for a training looks five times a second


class Runs:
    """Works through what is left, each run a trial of the store; pauses where runs fail alike."""

    def __init__(self, here: Here, question: Question, *, stopping: Callable[[], bool]) -> None:
        self._broken, self._left = threading.Event(), threading.Event()
        self._here = replace(here, stopping=self._is_stopping, left=self._left.is_set)
        self._question, self._told = question, stopping
        self._lock = threading.Lock()
        trials = here.session.store.trials(here.session.study)
        self.alike = AlikeFailures(went_well=any(trial.state.has_result for trial in trials))

    def _is_stopping(self) -> bool:
        return self._told() or self._broken.is_set() or self.alike.pausing

    def work_through(self) -> None:
        """Until no run is left, as more may be known once some have ended, or until it is to stop."""
        session = self._here.session
        while (todo := left(self._question, session.archive())) and not self._is_stopping():
            lanes = min(self._question.lanes(self._here), len(todo))
            if lanes == 1:
                for number, run in todo:
                    self._work(number, run)
            else:
                self._work_in_lanes(lanes, todo)

    def _work_in_lanes(self, lanes: int, todo: Sequence[tuple[int, Run]]) -> None:
        pool = ThreadPoolExecutor(lanes, thread_name_prefix="run")
        works = [pool.submit(self._work, number, run) for number, run in todo]
        try:
            try:
                for done in works:
                    done.result()
            except Exception:
                pool.shutdown()  # the others end at their epoch
                raise
        except BaseException:  # at once: an epoch may take an hour, and Ray is left before that
            self._left.set()
            pool.shutdown(wait=False, cancel_futures=True)
            wait(works, LEFT_S)
            raise
        pool.shutdown()

    def _work(self, number: int, run: Run) -> None:
        if self._is_stopping():
            return
        try:
            self._begin(number, run)
            self._question.work(self._here, number, run)
            self._end(number)
        except BaseException:
            self._broken.set()  # the others end at their epoch
            raise

    def _begin(self, number: int, run: Run) -> None:
        store, study = self._here.session.store, self._here.session.study
        with self._lock:
            if any(trial.number == number for trial in store.trials(study)):
                store.resume_trial(study, number)
            else:
                extra = {**run.extra, RUN: run.key}
                store.add_trial(study, number, run.params, seed=run.seed, origin=self._question.kind, extra=extra)

    def _end(self, number: int) -> None:
        """Say how far it is, and learn of failures."""
        session = self._here.session
        with self._lock:
            trials = session.store.trials(session.study)
            trial = next(trial for trial in trials if trial.number == number)
            assert trial.state.has_ended or self._is_stopping(), "a run that was not stopped has ended"
            if not trial.state.has_ended:
                return
            self.alike.end(trial.state, trial.reason)
            ended = sum(one.state.has_ended for one in trials)
            known = len(self._question.runs(session.archive()))
            how = "" if trial.state is TrialState.COMPLETE else f": {trial.state}: {trial.reason}"
            session.report(f"run {ended} of {known}: {trial.extra.get('said', trial.extra[RUN])}{how}")
