"""What the hooks of Tune share: the driver, the trials that run, the slots that start, and the coordinator."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

from tune_cnn.errors import STALLED, TuneCnnError
from tune_cnn.states import TrialState
from tune_cnn.trials.stalls_heard import StallsHeard
from tune_cnn.untyped import Plain, Untyped


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A trial to run."""

    trial: int
    params: Mapping[str, Plain]
    seed: int
    data_key: str | None = None  # of the images that it trains on
    context_mib: float | None = None  # that a process takes of a GPU beside its tensors; None: not measured

    def as_config(self) -> dict[str, Plain]:
        return {**asdict(self), "params": dict(self.params)}


class Driver(Protocol):
    """Who decides. Its methods run in the driver, in Tune's loop, and never raise."""

    def next(self) -> Assignment | None:
        """The next trial; None when the search is over."""

    def point(self, trial: int, epoch: int, metrics: Mapping[str, float], checkpoint: str | None) -> bool:
        """Commit an epoch; True stops the trial."""

    def end(self, trial: int, state: TrialState, reason: str | None) -> None:
        """A trial is over, or interrupted."""

    def tick(self) -> bool:
        """Called ten times a second or more; True once no new trial and no further epoch is wanted."""


class Opening(Protocol):
    """The start of a search: what lies between the answer to the first call and the first trial."""

    def open(self, answer: Untyped) -> Driver:
        """The driver of the trials to come. Called in Tune's loop; what it raises ends that, and is raised after it."""


class TuneAdapter:
    """From Tune's trials, by Tune's id of them, to the driver's.

    Without a driver the slots start all the same, each with a trial of Tune's that is yet to be told what to
    train. The first of them calls what the payload asks for; `opening` makes the driver of its answer.
    """

    def __init__(
        self,
        driver: Driver | None,
        slots: int,
        coordinator: Untyped,
        opening: Opening | None = None,
        *,
        stalls_folder: str | None = None,
    ) -> None:
        self.driver = driver
        self.stalls = StallsHeard(coordinator, stalls_folder, revived=self._tell_again)
        self.slots = slots
        self.coordinator = coordinator
        self.running: dict[str, int] = {}  # Tune's id of a trial -> ours
        self.finished = False
        self.error: Exception | None = None  # of the opening
        self._opening = opening
        self._starting: list[str] = []  # Tune's ids of those that are yet to be told
        self._lost_for: dict[str, str] = {}  # why Tune's trials last lost their process
        self._handed_out = 0
        self._assigned: dict[str, dict[str, Plain] | None] = {}  # what the slots that were starting were told
        self._stalled: set[str] = set()  # Tune's trials that have stood still once
        self._draining = False

    def config(self, tune_id: str) -> dict[str, Plain] | None:
        """What Tune's next trial starts with; None: there is no room for one now. `finished`: there will be none."""
        busy = len(self.running) + len(self._starting)
        if not self.finished and busy >= self.slots:
            return None
        if self.driver is None and not self.finished:
            self._starting.append(tune_id)
            return {"trial": None, "slot": tune_id, "first": not busy}
        assignment = self._next(tune_id)
        return None if assignment is None else assignment.as_config()

    def open(self, answer: Untyped) -> None:
        """Make the driver and tell every slot, up or not, what to train; `answer` may be an exception."""
        if self.driver is not None or self.finished:
            return
        try:
            if isinstance(answer, Exception):
                raise answer
            assert self._opening is not None
            self.driver = self._opening.open(answer)
        except Exception as error:
            self.error, self.finished = error, True
        starting, self._starting = self._starting, []
        for tune_id in starting:
            assignment = self._next(tune_id)
            self._assigned[tune_id] = None if assignment is None else assignment.as_config()
            self.coordinator.assign.remote(tune_id, self._assigned[tune_id])

    def lost(self, tune_id: str, why: str) -> bool:
        """A trial's process died; Tune tries again, or gives up next. True where that is the last time that it may:
        a trial that has stood still is tried once more."""
        stalled = self.stalls.why(self.running.get(tune_id))
        self._lost_for[tune_id] = stalled or why
        self.coordinator.idle.remote(self.running.get(tune_id))
        if stalled is not None:
            self._stalled.add(tune_id)
        return tune_id in self._stalled

    def give_up(self, tune_id: str, *, tries: int) -> None:
        """A trial's process died, time and again."""
        said = self._lost_for.get(tune_id, "no reason was given")
        why = f"{said}; it was the second time" if said.startswith(STALLED) else f"given up after {tries} tries: {said}"
        if tune_id in self._starting:  # the first of them is the one that was asked
            asked = self._starting.index(tune_id) == 0
            self._starting.remove(tune_id)
            if asked:
                self.open(TuneCnnError(f"no process of a slot could be started: {why}"))
        self.end(tune_id, TrialState.FAILED, why)

    def tick(self) -> bool:
        """True where nothing can go on, so that all trials are to be ended at once."""
        self.stalls.tick()
        if self.driver is not None and self.driver.tick() and not self._draining:
            self._draining = self.finished = True  # no new trials; those that run end at their epoch
            self.coordinator.drain.remote()
        return self.stalls.lost is not None

    def _tell_again(self) -> None:
        """The coordinator was made anew."""
        for tune_id, config in self._assigned.items():
            self.coordinator.assign.remote(tune_id, config)
        if self._draining:
            self.coordinator.drain.remote()

    def point(self, trial: int, epoch: int, metrics: Mapping[str, float], checkpoint: str | None) -> bool:
        assert self.driver is not None
        return self.driver.point(trial, epoch, metrics, checkpoint)

    def end(self, tune_id: str, state: TrialState, reason: str | None) -> None:
        trial = self.running.pop(tune_id, None)
        if trial is not None:
            assert self.driver is not None
            self.coordinator.idle.remote(trial)
            self.driver.end(trial, state, reason)

    def close(self) -> None:
        """Where Tune's loop was broken off, what ran is unfinished."""
        for tune_id in list(self.running):
            self.end(tune_id, TrialState.INTERRUPTED, None)

    def _next(self, tune_id: str) -> Assignment | None:
        """The driver's next trial, from now on Tune's of that id; None when there will be no more."""
        assignment = None if self.finished or self.driver is None else self.driver.next()
        if assignment is not None:
            self._handed_out += 1
            self.running[tune_id] = assignment.trial
        elif not self.finished:
            self.finished = True
            self.coordinator.expect.remote(self._handed_out)
        return assignment
