"""The frame of questions: runs side by side, a run that breaks, an end that the user wants, and what is refused."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from study.comparing.made_up_comparing import MadeUp, asked, create, work_through
from study.made_up import Command, one_message
from tune_cnn.errors import Interrupted
from tune_cnn.records.store import Store
from tune_cnn.states import TrialState
from tune_cnn.study.archive import read_archive
from tune_cnn.study.comparing.cells import cells_of
from tune_cnn.study.questions import runs
from tune_cnn.study.questions.left import counted, left, trial_of
from tune_cnn.study.questions.question import Here, Run


class SideBySide(MadeUp):
    """Three lanes; remembers the threads that runs were done in."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # as the base takes them
        self.threads: set[str] = set()
        self._together = threading.Barrier(3, timeout=30)

    def lanes(self, here: Here) -> int:
        return 3

    def work(self, here: Here, number: int, run: Run) -> None:
        self.threads.add(threading.current_thread().name)
        self._together.wait()  # passes only where three runs are worked on at a time
        super().work(here, number, run)


def test_lanes_work_side_by_side_and_every_run_is_done_once(tmp_path: Path) -> None:
    """Each in a thread of its own, into one store."""
    spec, what = asked("batch_size", seeds=3)
    create(tmp_path, spec, what, cells_of(what, spec, {}))
    question = SideBySide(what, lambda run: (0.9, 1.0))
    archive = work_through(tmp_path, spec, question)
    assert len(question.threads) == 3
    assert sorted(question.did) == sorted(run.key for run in question.runs(archive))
    assert counted(question, archive) == (6, 6)
    assert [trial.number for trial in archive.trials] == list(range(6))


def test_a_run_that_breaks_ends_the_command_and_the_others_are_left(tmp_path: Path) -> None:
    """An error that is no run's end; what had ended stays."""
    spec, what = asked("batch_size", seeds=3)
    create(tmp_path, spec, what, cells_of(what, spec, {}))

    class Breaks(MadeUp):
        def work(self, here: Here, number: int, run: Run) -> None:
            if len(self.did) == 2:
                raise RuntimeError("the disk is gone")
            super().work(here, number, run)

    with pytest.raises(RuntimeError, match="the disk is gone"):
        work_through(tmp_path, spec, Breaks(what, lambda run: (0.9, 1.0)))
    archive = read_archive("made-up", tmp_path, None)
    question = MadeUp(what, lambda run: (0.9, 1.0))
    assert [trial.state for trial in archive.trials] == [TrialState.COMPLETE] * 2 + [TrialState.RUNNING]
    assert [number for number, _ in left(question, archive)] == [2, 3, 4, 5]  # the begun one keeps its number


def test_nobody_waits_for_a_lane_that_is_left_at_once(tmp_path: Path) -> None:
    """At the second Ctrl-C: each lane hears it, as none may go on when Ray has ended, and none begins another run."""
    spec, what = asked("batch_size", seeds=3)
    create(tmp_path, spec, what, cells_of(what, spec, {}))
    together, heard = threading.Barrier(3, timeout=30), list[int]()

    class Waits(MadeUp):
        def lanes(self, here: Here) -> int:
            return 3

        def work(self, here: Here, number: int, run: Run) -> None:
            if together.wait() == 0:
                os.kill(os.getpid(), signal.SIGINT)
            while not here.left():
                time.sleep(0.01)
            heard.append(number)
            raise Interrupted("left at once")

    with pytest.raises(KeyboardInterrupt):
        work_through(tmp_path, spec, Waits(what, lambda run: (0.9, 1.0)))
    assert sorted(heard) == [0, 1, 2]
    assert [trial.state for trial in read_archive("made-up", tmp_path, None).trials] == [TrialState.RUNNING] * 3


def test_a_lane_that_hears_nothing_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a call that Ray doesn't answer: the command ends while the lane still waits."""
    monkeypatch.setattr(runs, "LEFT_S", 0.1)
    spec, what = asked("batch_size", seeds=2)
    create(tmp_path, spec, what, cells_of(what, spec, {}))
    together, answer = threading.Barrier(2, timeout=30), threading.Event()
    ended = list[int]()

    class Deaf(MadeUp):
        def lanes(self, here: Here) -> int:
            return 2

        def work(self, here: Here, number: int, run: Run) -> None:
            if together.wait() == 0:
                os.kill(os.getpid(), signal.SIGINT)
            answer.wait(30)
            ended.append(number)

    try:
        with pytest.raises(KeyboardInterrupt):
            work_through(tmp_path, spec, Deaf(what, lambda run: (0.9, 1.0)))
        assert ended == []
    finally:
        answer.set()


def test_a_run_that_was_stopped_is_done_again_as_the_same_trial(tmp_path: Path) -> None:
    """It returned before its end, as the user wanted."""
    spec, what = asked("batch_size", seeds=2)
    create(tmp_path, spec, what, cells_of(what, spec, {}))

    class Stops(MadeUp):
        def work(self, here: Here, number: int, run: Run) -> None:
            self.did.append(run.key)

    first = Stops(what, lambda run: (0.9, 1.0))
    begun = work_through(tmp_path, spec, first, most=1)
    assert [trial.state for trial in begun.trials] == [TrialState.RUNNING]
    archive = work_through(tmp_path, spec, MadeUp(what, lambda run: (0.9, 1.0)))
    run = next(run for run in first.runs(archive) if run.key == first.did[0])
    again = trial_of(archive, run)
    assert again is not None and (again.number, again.attempts, again.state) == (0, 2, TrialState.COMPLETE)


def test_a_search_can_not_be_made_of_a_question(tmp_path: Path, command: Command) -> None:
    """Its name is taken; the refusal names the command that goes on."""
    spec, what = asked("batch_size", seeds=2)
    create(Path("studies"), spec, what, cells_of(what, spec, {}))
    ended = command("search", "quickstart", "--set", "study=made-up")
    one_message(ended, 2, "answers a question of `compare`", "nothing to search", "tune-cnn compare")
    store = Store("studies")
    assert store.trials("made-up") == []
    store.close()
