"""Slots start while it is still being found out what they will train."""

from collections.abc import Callable
from pathlib import Path

import pytest
from scripted_drivers import Script, cpu_slots, payload, trial

from tune_cnn.errors import SpecError, TuneCnnError
from tune_cnn.trials.first_call import FirstCall
from tune_cnn.trials.tune_loop import open_and_run


def answering(name: str, *args: object):
    return payload(first=FirstCall(path=f"loops:{name}", args=args))


class Opening:
    """Makes the driver by a function of the test's."""

    def __init__(self, make: Callable[[object], Script]) -> None:
        self.open = make


def test_the_first_slots_process_answers_and_then_trains(one_ray):
    """No process is started for the question alone, and no trial begins before its answer is in."""
    script = Script([trial(epochs=2) for _ in range(6)])
    answers = []

    def opening(answer: object) -> Script:
        assert not script.started
        answers.append(answer)
        return script

    open_and_run(Opening(opening), answering("own_pid"), cpu_slots(2))
    assert script.states() == ["complete"] * 6
    assert len(script.pids()) == 2
    assert len(answers) == 1
    assert answers[0] in script.pids()


def test_what_the_question_raises_ends_the_search_before_its_first_trial(one_ray):
    with pytest.raises(SpecError, match="no such thing"):
        open_and_run(Opening(lambda answer: pytest.fail("there is no answer")), answering("refuse"), cpu_slots(2))


def test_what_making_the_driver_raises_ends_the_search(one_ray):
    def opening(answer: object) -> Script:
        raise SpecError(f"can't do with {type(answer).__name__}")

    with pytest.raises(SpecError, match="can't do with int"):
        open_and_run(Opening(opening), answering("own_pid"), cpu_slots(2))


def test_slots_without_a_trial_end(one_ray):
    """There may be fewer trials than slots; how many there are is known only when the slots have been started."""
    script = Script([trial(epochs=2)])
    open_and_run(Opening(lambda answer: script), answering("own_pid"), cpu_slots(4))
    assert script.states() == ["complete"]
    nothing = Script([])
    open_and_run(Opening(lambda answer: nothing), answering("own_pid"), cpu_slots(2))
    assert nothing.ends == {}


def test_a_process_lost_over_the_question_is_replaced(one_ray, tmp_path: Path):
    script = Script([trial() for _ in range(4)])
    open_and_run(Opening(lambda answer: script), answering("die_once", str(tmp_path / "died")), cpu_slots(2))
    assert script.states() == ["complete"] * 4
    assert (tmp_path / "died").exists()


def test_a_question_that_kills_every_process_is_given_up(one_ray):
    with pytest.raises(TuneCnnError, match="no process of a slot could be started"):
        open_and_run(Opening(lambda answer: pytest.fail("there is no answer")), answering("die"), cpu_slots(1))


def test_a_trial_lost_after_the_opening_is_retried(one_ray, tmp_path: Path):
    """The new process is told again what the lost one trained."""
    script = Script([trial(fault="die once", marker=str(tmp_path / "died")), trial(epochs=3)])
    open_and_run(Opening(lambda answer: script), answering("own_pid"), cpu_slots(2))
    assert script.states() == ["complete"] * 2
