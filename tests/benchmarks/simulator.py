"""A search without Ray: slots on a simulated clock take each trial's epochs from a table of learning curves.

The system that is simulated is asked for a configuration whenever a slot is free, hears of each epoch at the moment at
which it ends, and of each trial's end, in the order and with the states that `tune_cnn.study.searching.driver` uses.
What it computes costs no simulated time; its CPU seconds are counted apart.
"""

import heapq
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
from tables import Curve, Key, Table

from tune_cnn.front.hypervolume import FrontTracker
from tune_cnn.metrics import EpochPoint
from tune_cnn.states import TrialState

LEVELS = (0.9, 0.95, 0.99)  # shares of the table's exact hypervolume
CHECKPOINTS = (0.1, 0.25, 0.5, 1.0)  # shares of the simulated budget
WARM_TRIALS = 10  # before the cliff's losses count


class System(Protocol):
    """What is compared; `tune_cnn.search.search.Search` is one."""

    def ask(self, number: int) -> dict[str, Any]: ...

    def observe(self, point: EpochPoint) -> bool: ...

    def finish(self, number: int, state: TrialState, points: Sequence[EpochPoint]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Slots, and what a trial costs beside its epochs."""

    slots: int = 4
    overhead: float = 0.05  # of a table's mean training time, for each trial: start, evaluation, the last report
    failures: float = 0.0  # share of the trials that a fault ends, at an epoch of chance
    budget_trials: float = 300.0  # trained to their horizon, these would fill the slots for the simulated budget

    def overhead_s(self, table: Table) -> float:
        return self.overhead * table.mean_total_s

    def budget_s(self, table: Table) -> float:
        return self.budget_trials * (table.mean_total_s + self.overhead_s(table)) / self.slots


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One simulated search. Shares are of the table's exact hypervolume, seconds simulated but for the `cpu` ones."""

    table: str
    system: str
    seed: int
    trials: int
    states: Mapping[str, int]
    simulated_s: float
    budget_s: float
    time_to_s: Mapping[str, float | None]  # by level; None: not reached
    share_at: Mapping[str, float]  # by checkpoint reached
    front_tried: int  # configurations of the exact front that were tried
    front_cut: int  # of these, how many were ever stopped before their last epoch on the exact front
    late_trials: int  # trials after the first ten
    late_infeasible: int
    cpu_ms_per_ask: float  # with all that is told of a trial
    ask_cpu_ms: Sequence[float]  # of each proposal alone, in the order of the trials

    def plain(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(kw_only=True)
class _Running:
    params: dict[str, Any]
    key: Key
    curve: Curve
    fails_after: int | None  # epochs
    points: list[EpochPoint] = field(default_factory=list)


class Simulation:
    """One search over one table. `run` once."""

    def __init__(self, table: Table, system: System, machine: Machine, *, seed: int) -> None:
        self._table, self._system, self._machine = table, system, machine
        self._random = np.random.default_rng(seed)
        self._budget_s = machine.budget_s(table)
        self._tracker = FrontTracker(table.objectives, table.reference)
        self._running: dict[int, _Running] = {}
        self._events: list[tuple[float, int]] = []  # when which trial has something to say
        self._asked = 0
        self._states: Counter[TrialState] = Counter()
        self._late_infeasible = 0
        self._front_tried: set[Key] = set()
        self._front_cut: set[Key] = set()
        self._trace: list[tuple[float, float]] = [(0.0, 0.0)]  # simulated seconds, share of the exact hypervolume
        self._cpu_s = 0.0
        self._ask_cpu_s: list[float] = []

    def run(self, *, max_trials: int, until: float | None = LEVELS[-1]) -> list[tuple[float, float]]:
        """To the end of the simulated budget, or of so many trials, or as soon as this share is reached."""
        for _ in range(self._machine.slots):
            self._start(0.0)
        now_s = 0.0
        while self._events and self._events[0][0] <= self._budget_s and (until is None or self._trace[-1][1] < until):
            now_s, number = heapq.heappop(self._events)
            if self._hears(number, now_s) and self._asked < max_trials:
                self._start(now_s)
        self._now_s = now_s
        return self._trace

    def outcome(self, system: str, seed: int) -> Outcome:
        reached = {level: next((at_s for at_s, share in self._trace if share >= level), None) for level in LEVELS}
        ended_early = self._now_s < self._budget_s and self._events
        share_at = {
            f"{part:g}": max(share for at_s, share in self._trace if at_s <= part * self._budget_s)
            for part in CHECKPOINTS
            if part * self._budget_s <= self._now_s or not ended_early
        }
        return Outcome(
            table=self._table.name,
            system=system,
            seed=seed,
            trials=self._asked,
            states={str(state): count for state, count in self._states.items()},
            simulated_s=self._now_s,
            budget_s=self._budget_s,
            time_to_s={f"{level:g}": at_s for level, at_s in reached.items()},
            share_at=share_at,
            front_tried=len(self._front_tried),
            front_cut=len(self._front_cut),
            late_trials=max(0, sum(self._states.values()) - WARM_TRIALS),
            late_infeasible=self._late_infeasible,
            cpu_ms_per_ask=1e3 * self._cpu_s / max(1, self._asked),
            ask_cpu_ms=[1e3 * one_s for one_s in self._ask_cpu_s],
        )

    def _timed(self, call: Callable[..., Any], *arguments: Any) -> Any:
        begun_s = time.process_time()  # of all threads: a library may compute in others
        try:
            return call(*arguments)
        finally:
            self._cpu_s += time.process_time() - begun_s

    def _start(self, now_s: float) -> None:
        number, table = self._asked, self._table
        self._asked += 1
        before_s = self._cpu_s
        params = self._timed(self._system.ask, number)
        self._ask_cpu_s.append(self._cpu_s - before_s)
        key = table.key(params)
        curve = table.curves[key]
        fails = self._random.random() < self._machine.failures
        fails_after = int(self._random.integers(len(curve.seconds))) if fails else None
        self._running[number] = _Running(params=params, key=key, curve=curve, fails_after=fails_after)
        if key in table.front_epochs:
            self._front_tried.add(key)
        first_s = curve.seconds[0] if table.fits(curve) else 0.0
        heapq.heappush(self._events, (now_s + self._machine.overhead_s(table) + first_s, number))

    def _hears(self, number: int, now_s: float) -> bool:
        """An epoch of this trial has ended, or the trial for want of memory; True: its slot is free."""
        trial = self._running[number]
        if not self._table.fits(trial.curve):
            return self._end(number, TrialState.INFEASIBLE)
        epoch = len(trial.points) + 1
        if epoch > len(trial.curve.epochs) or (trial.fails_after is not None and epoch > trial.fails_after):
            return self._end(number, TrialState.FAILED)
        point = EpochPoint(trial=number, epoch=epoch, metrics=trial.curve.epochs[epoch - 1])
        trial.points.append(point)
        if self._tracker.add(point):
            self._trace.append((now_s, self._tracker.hypervolume / self._table.exact_hypervolume))
        stop = self._timed(self._system.observe, point)
        if epoch == len(trial.curve.seconds):
            return self._end(number, TrialState.COMPLETE)
        if stop:
            return self._end(number, TrialState.STOPPED)
        heapq.heappush(self._events, (now_s + trial.curve.seconds[epoch], number))
        return False

    def _end(self, number: int, state: TrialState) -> bool:
        trial = self._running.pop(number)
        ended = sum(self._states.values())
        self._states[state] += 1
        self._late_infeasible += state is TrialState.INFEASIBLE and ended >= WARM_TRIALS
        if state is TrialState.STOPPED and len(trial.points) < self._table.front_epochs.get(trial.key, 0):
            self._front_cut.add(trial.key)
        self._timed(self._system.finish, number, state, trial.points)
        return True


def simulate(
    table: Table, system: System, *, name: str, seed: int, machine: Machine, max_trials: int, until: float | None
) -> Outcome:
    """One search of `system` over `table`."""
    simulation = Simulation(table, system, machine, seed=seed)
    simulation.run(max_trials=max_trials, until=until)
    return simulation.outcome(name, seed)
