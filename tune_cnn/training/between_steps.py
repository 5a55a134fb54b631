"""What is done between two steps of an epoch: go on, write a checkpoint first, or leave; all ranks do the same."""

import time
from collections.abc import Callable
from enum import Enum, auto

from tune_cnn.training.process.process_group import ProcessGroup

AGREE_EVERY_S = 1.0  # ranks ask each other so often: a message of a few ms at most, and none in the steps between


class Then(Enum):
    """What comes after a step."""

    GO_ON = auto()
    WRITE = auto()  # a checkpoint, then go on
    LEAVE = auto()


class Leaving:
    """Whether the training is to be left; told from another thread."""

    def __init__(self) -> None:
        self._within_s: float | None = None

    def ask(self, within_s: float) -> None:
        """To be left before its end by an epoch that lasts for more than so many seconds yet; the least holds."""
        self._within_s = within_s if self._within_s is None else min(within_s, self._within_s)

    def forget(self) -> None:
        self._within_s = None

    @property
    def asked(self) -> bool:
        return self._within_s is not None

    def at_once(self, rest_s: float | None) -> bool:
        """Whether to leave an epoch that lasts so many seconds yet; None: that is not known."""
        return self._within_s is not None and (not self._within_s or (rest_s is not None and rest_s > self._within_s))


class BetweenSteps:
    """Rank 0 decides, by its clock, and the others learn of it after the same step.

    They ask at steps that are known to all beforehand: rank 0 says each time how many steps lie before the next one.
    """

    def __init__(
        self,
        group: ProcessGroup,
        due: Callable[[], bool],
        leaving: Leaving,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """due: whether it is time for a checkpoint within an epoch, on rank 0."""
        self._group, self._due, self._leaving, self._clock = group, due, leaving, clock
        self._apart = 1
        self.begin(0)

    def begin(self, step: int) -> None:
        """Steps are taken from here on, after so many of the epoch; called again after a pause."""
        self._begun_s, self._begun_at = self._clock(), step
        self._asked_at = step + self._apart

    def then(self, step: int, of: int) -> Then:
        """What comes after so many steps of so many. There is nothing to decide after the last one."""
        if self._group.ranks == 1:
            return self._decided(step, of)
        if step < self._asked_at or step >= of:
            return Then.GO_ON
        then, self._apart = self._group.share((self._decided(step, of), self._next_apart(step)))
        self._asked_at = step + self._apart
        assert isinstance(then, Then)
        return then

    def _decided(self, step: int, of: int) -> Then:
        if step >= of:
            return Then.GO_ON
        if self._leaving.asked and self._leaving.at_once(self._rest_s(step, of)):
            return Then.LEAVE
        return Then.WRITE if self._due() else Then.GO_ON

    def _rest_s(self, step: int, of: int) -> float | None:
        taken = step - self._begun_at
        return (of - step) * (self._clock() - self._begun_s) / taken if taken else None

    def _next_apart(self, step: int) -> int:
        """Twice as many steps as before at most: the first ones may tell little of those to come."""
        taken, took_s = step - self._begun_at, self._clock() - self._begun_s
        wanted = int(AGREE_EVERY_S * taken / took_s) if took_s > 0 else 2 * self._apart
        return max(1, min(wanted, 2 * self._apart))
