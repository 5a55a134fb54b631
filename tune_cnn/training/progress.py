"""What this process's rank is doing, and whether it moves: counted here, read from another thread."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum


class Doing(StrEnum):
    """The phases of a rank, in words for the user."""

    NOTHING = "waiting for a trial"
    STARTING = "starting"  # images, model, first compile: no steps yet
    JOINING = "waiting to join the other ranks"
    TRAINING = "training"
    EVALUATING = "evaluating"  # the user's metrics too
    CHECKPOINTING = "writing a checkpoint"
    USERS_TRAINING = "in the user's own training"


@dataclass(frozen=True, kw_only=True)
class Moved:
    """How a rank stands now."""

    doing: Doing
    idle_s: float  # since its last sign of progress: a batch, or the next phase
    longest_s: float | None  # between two batches of training in this trial; None: it has not had two yet
    compiles: bool  # a step may compile anew, where the model is reshaped


class Progress:
    """Signs of progress. Cheap enough for every batch: a clock is read, two numbers are set, nothing is sent.

    One thread writes, another reads; a reader may see the moment between two writes, which harms nothing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._doing = Doing.NOTHING
        self._moved_s = clock()
        self._batch_s: float | None = None  # of training, when the last one came; None: another phase lies between
        self._longest_s: float | None = None
        self._compiles = False
        self._in_steps = False

    def begin(self, *, compiles: bool) -> None:
        """A trial begins: what the last one's steps took says nothing of this one's."""
        self._longest_s, self._compiles = None, compiles

    def moved(self) -> None:
        """A batch has come, or another piece of work that may be one of many."""
        now_s = self._clock()
        if self._in_steps:
            if self._batch_s is not None:
                self._longest_s = max(self._longest_s or 0.0, now_s - self._batch_s)
            self._batch_s = now_s
        self._moved_s = now_s

    @contextmanager
    def doing(self, what: Doing) -> Iterator[None]:
        """Within it the rank is in this phase; they nest, and the inner one counts."""
        outer = self._doing
        self._enter(what)
        try:
            yield
        finally:
            self._enter(outer)

    def now(self) -> Moved:
        """For another thread."""
        return Moved(
            doing=self._doing,
            idle_s=max(0.0, self._clock() - self._moved_s),
            longest_s=self._longest_s,
            compiles=self._compiles,
        )

    def _enter(self, what: Doing) -> None:
        self._doing, self._moved_s, self._batch_s = what, self._clock(), None
        self._in_steps = what in (Doing.TRAINING, Doing.USERS_TRAINING)


PROGRESS = Progress()
"""This process's. One for all, as a process is one rank, and what moves lies deep: loaders, the cache's writer."""
