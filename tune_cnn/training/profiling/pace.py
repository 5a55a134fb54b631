"""When a measured stretch of steps begins and ends: after the same step on every rank."""

import math
import time
from collections.abc import Callable
from enum import Enum, auto

from tune_cnn.training.process.process_group import ProcessGroup

LEAST_STEPS = 3  # however long they take
MOST_AT_ONCE = 100_000  # steps before the clock is looked at again: a first estimate may be far off


class Then(Enum):
    """What comes after a step."""

    GO_ON = auto()
    BEGIN = auto()  # the clock starts here
    LOOK = auto()  # whether it has been long enough
    END = auto()


class Pace:
    """Rank 0 decides, by its clock; the others learn of it after the same step, which all know beforehand.

    The clock is looked at some few times in a stretch alone: a GPU must be waited for each time.
    """

    def __init__(
        self, group: ProcessGroup, *, warm_up: int, least_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`warm_up`: steps before the clock, one at least. `least_s`: of the stretch, its pauses left out."""
        assert warm_up >= 1, "the length of a step must be guessed by some"
        self._group, self._least_s, self._clock = group, least_s, clock
        self._warm_up = self._next_at = warm_up
        self._step = 0
        self._from_s = self._now_s = clock()

    def after_step(self) -> Then:
        """What comes after one more step. After BEGIN and LOOK the caller waits for the device, and asks `decided`."""
        self._step += 1
        if self._step < self._next_at:
            return Then.GO_ON
        return Then.BEGIN if self._step == self._warm_up else Then.LOOK

    def look(self) -> None:
        """The device has done all steps so far: a pause begins."""
        self._now_s = self._clock()

    def decided(self) -> Then:
        """GO_ON or END; within the pause, as ranks tell each other."""
        begins = self._step == self._warm_up
        taken = self._step if begins else self._step - self._warm_up
        took_s = max(self._now_s - self._from_s, 1e-6)
        left_s = self._least_s if begins else max(0.0, self._least_s - took_s)
        more = min(math.ceil(left_s * taken / took_s), MOST_AT_ONCE)
        more = self._group.share(max(more, LEAST_STEPS if begins else 0))
        self._next_at = self._step + more
        return Then.GO_ON if more else Then.END

    def go_on(self) -> None:
        """The pause ends; the one before the first step on the clock begins the stretch."""
        now_s = self._clock()
        self._from_s = now_s if self._step == self._warm_up else self._from_s + now_s - self._now_s
