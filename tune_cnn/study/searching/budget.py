"""What a search has spent of its budget, whether it is worth going on, and how long it will still take."""

import math
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from tune_cnn.spec.parts import Budget

# Ended trials over which the hypervolume's growth is judged: with fewer, one lucky trial would decide.
GROWTH_TRIALS = 10
RECENT = 20  # ended trials whose durations say how long the next ones take


@dataclass(frozen=True, kw_only=True)
class PhaseEnd:
    """Where a phase hands out no more trials, whichever comes first; those that run go on to their end."""

    trials: float = math.inf
    searched_s: float = math.inf

    @classmethod
    def of(cls, budget: Budget, number: int, phases: int) -> "PhaseEnd":
        """Phases, counted from 1, share trials and hours evenly; the last one has all that is left."""
        if number == phases:
            return cls()
        return cls(
            trials=math.inf if budget.trials is None else budget.trials * number // phases,
            searched_s=math.inf if budget.hours is None else budget.hours * 3600 * number / phases,
        )

    def last_number(self, next_number: int, searched_s: float) -> float:
        """Of the trials that it hands out, where the next one would be that one."""
        return next_number if searched_s >= self.searched_s else self.trials


class BudgetTracker:
    """Hours, trials and epochs of one search, over all its starts."""

    def __init__(
        self, budget: Budget, min_growth_pct_per_hour: float | None, *, searched_s: float, epochs: int
    ) -> None:
        self.epochs = epochs  # trained so far
        self._budget, self._min_growth_pct_per_hour = budget, min_growth_pct_per_hour
        self._before_s, self._began_s = searched_s, time.monotonic()
        self._grown: deque[tuple[float, float]] = deque(maxlen=GROWTH_TRIALS + 1)
        self._durations_s: deque[float] = deque(maxlen=RECENT)

    @property
    def searched_s(self) -> float:
        return self._before_s + time.monotonic() - self._began_s

    @property
    def hours_left_s(self) -> float | None:
        return None if self._budget.hours is None else self._budget.hours * 3600 - self.searched_s

    def trial_ended(self, duration_s: float | None, hypervolume: float | None) -> None:
        """`hypervolume`: None before its reference point is fixed, when it can't be compared."""
        if duration_s is not None:
            self._durations_s.append(duration_s)
        if hypervolume:
            self._grown.append((self.searched_s, hypervolume))

    def why_over(self) -> str | None:
        """Why nothing more should be trained, the number of trials aside; None where something should."""
        left_s = self.hours_left_s
        if left_s is not None and left_s <= 0:
            return "the budget of hours is spent"
        if self._budget.epochs is not None and self.epochs >= self._budget.epochs:
            return "the budget of epochs is spent"
        growth = self.growth_pct_per_hour
        if self._min_growth_pct_per_hour is not None and growth is not None and growth < self._min_growth_pct_per_hour:
            return (
                f"its last {GROWTH_TRIALS} trials let the hypervolume grow by {growth:.2g} % an hour, less than "
                f"min_growth_pct_per_hour: {self._min_growth_pct_per_hour:g}"
            )
        return None

    @property
    def growth_pct_per_hour(self) -> float | None:
        """Of the hypervolume, by the last trials: growth slows down, so this is the most to expect of the next hour."""
        if len(self._grown) <= GROWTH_TRIALS:
            return None
        (then_s, then), (now_s, now) = self._grown[0], self._grown[-1]
        return 100.0 * (now - then) / now * 3600.0 / max(now_s - then_s, 1e-9)

    def left_s(self, *, to_start: int | None, running_s: Iterable[float], slots: int, done: int) -> float | None:
        """How long the search will still take: the trials to come and the rest of the running ones, over the slots.

        `running_s`: how long each running trial has run. None where nothing is known yet; never beyond the hours.
        """
        left = [self.hours_left_s] if self.hours_left_s is not None else []
        running = list(running_s)
        trial_s = sum(self._durations_s) / len(self._durations_s) if self._durations_s else None
        if to_start is not None and trial_s is not None:
            rest_s = sum(max(0.0, trial_s - ran_s) for ran_s in running)
            left.append((to_start * trial_s + rest_s) / max(1, min(slots, to_start + len(running))))
        elif to_start is not None and done:  # a start of its own has no trial to judge by yet
            left.append(self.searched_s / done * (to_start + len(running)))
        if self._budget.epochs is not None and self.epochs:
            left.append(self.searched_s / self.epochs * max(0, self._budget.epochs - self.epochs))
        return max(0.0, min(left)) if left else None
