"""A pool's processes are called all at the same time, and one that dies is replaced."""

import contextlib

import pytest

from tune_cnn.errors import TrialError, TuneCnnError
from tune_cnn.trials.cluster.remote import ActorPool, CallLost, call_on_node

CPU = {"CPU": 1.0}
SLOW_TO_IMPORT = """
import os, time
from pathlib import Path

HERE = Path(__file__).parent
try:
    (HERE / "first").touch(exist_ok=False)
except FileExistsError:
    time.sleep(1.0)
(HERE / f"imported-{os.getpid()}").touch()

def imported():
    return len(list(HERE.glob("imported-*")))
"""


def test_every_call_is_answered_by_the_same_processes(one_ray):
    """Each with a trial's resources, warm from call to call; their resources are free afterwards."""
    for count in (5, 3):
        with contextlib.closing(ActorPool("loops:own_pid", CPU, count)) as pool:
            first, second = pool.call(), pool.call()
        assert len(set(first)) == count and first == second


def test_no_call_begins_before_all_have_imported_what_they_call(one_ray, tmp_path, monkeypatch):
    """The first would be measured with nothing beside it."""
    (tmp_path / "slow_to_import.py").write_text(SLOW_TO_IMPORT)
    monkeypatch.syspath_prepend(str(tmp_path))
    with contextlib.closing(ActorPool("slow_to_import:imported", CPU, 3)) as pool:
        assert pool.call() == [3, 3, 3]


def test_what_a_process_meets_is_its_own_answer(one_ray, tmp_path):
    """The others answer all the same, and at the next call there is another process."""
    with contextlib.closing(ActorPool("loops:die_once", CPU, 3)) as pool:
        answers = [pool.call(str(tmp_path / "died")) for _ in range(2)]
    lost = [answer for answer in answers[0] if answer is not None]
    assert lost and all(isinstance(answer, CallLost) and not answer.out_of_memory for answer in lost)
    assert answers[1] == [None] * 3


def test_what_a_function_raised_is_its_answer_as_it_was(one_ray):
    with contextlib.closing(ActorPool("loops:fail", CPU, 2)) as pool:
        answers = pool.call()
    assert [(type(answer), str(answer)) for answer in answers] == [(TrialError, "as it was raised")] * 2


def test_a_node_that_loses_the_process_of_a_call_is_told_to_the_user(one_ray):
    with pytest.raises(TuneCnnError, match="die on a node with a trial's resources: its process died"):
        call_on_node("loops:die", CPU)
