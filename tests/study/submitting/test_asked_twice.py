"""A head that gives no end to a command is asked once more, and then its silence is the answer."""

from typing import Any

import pytest

from tune_cnn.study.submitting.looking import _twice
from tune_cnn.trials.jobs.server import Job, NoEnd

DONE = Job(study="", attempt=0, submission="", status="SUCCEEDED", exit_code=0)


class Head:
    """Silent so many times."""

    def __init__(self, silent: int) -> None:
        self.silent, self.asked = silent, 0

    def command(self, entrypoint: str, *, python: str) -> Job:
        self.asked += 1
        if self.asked <= self.silent:
            raise NoEnd("no end")
        return DONE


@pytest.mark.parametrize(("silent", "asked"), [(0, 1), (1, 2)])
def test_a_silent_head_is_asked_once_more(silent: int, asked: int) -> None:
    head: Any = Head(silent)
    assert _twice(head, "stop", "python") == DONE
    assert head.asked == asked


def test_a_head_that_stays_silent_is_told_of() -> None:
    head: Any = Head(2)
    with pytest.raises(NoEnd):
        _twice(head, "stop", "python")
    assert head.asked == 2
