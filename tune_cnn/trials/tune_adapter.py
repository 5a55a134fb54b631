"""What the hooks of Tune share: the driver, the trials that run, the slots that start, and the coordinator."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from tune_cnn.errors import TuneCnnError
from tune_cnn.states import TrialState
from tune_cnn.trials.coordinated import Coordinator
from tune_cnn.trials.nodes.losses import RETRIES, Loss, Losses
from tune_cnn.trials.nodes.node_health import NodeEvent
from tune_cnn.trials.nodes.nodes_in_use import NodesInUse
from tune_cnn.untyped import Plain, Untyped


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A trial to run."""

    trial: int
    params: Mapping[str, Plain]
    seed: int
    data_key: str | None = None  # of the images that it trains on
    context_mib: float | None = None  # that a process takes of a GPU beside its tensors; None: not measured

    def as_config(self, *, not_on: Collection[str] = ()) -> dict[str, Plain]:
        """`not_on`: nodes that lost it, where it is not to be trained."""
        return {**asdict(self), "params": dict(self.params), "not_on": sorted(not_on)}


class Driver(Protocol):
    """Who decides. Its methods run in the driver, in Tune's loop, and never raise."""

    def next(self, without: Collection[int] = ()) -> Assignment | None:
        """The next trial, before all others one that came back, but none of `without`; None when there is no more."""

    def point(self, trial: int, epoch: int, metrics: Mapping[str, float], checkpoint: str | None) -> bool:
        """Commit an epoch; True stops the trial."""

    def back(self, trial: int) -> None:
        """A trial has left its slot before its end, and goes on in another one: `next` hands it out again."""

    def end(self, trial: int, state: TrialState, reason: str | None) -> None:
        """A trial is over, or interrupted."""

    def on_node(self, event: NodeEvent) -> None:
        """Hear what happened to a node, or to a trial there."""

    def past_nodes(self) -> Sequence[NodeEvent]:
        """What was heard of them before, in this phase's past or in an earlier start."""

    def tick(self) -> bool:
        """Called ten times a second or more; True once no new trial and no further epoch is wanted."""


class Opening(Protocol):
    """The start of a search: what lies between the answer to the first call and the first trial."""

    def open(self, answer: Untyped) -> Driver:
        """The driver of the trials to come. Called in Tune's loop; what it raises ends that, and is raised after it."""


class TuneAdapter:
    """From Tune's trials, by Tune's id of them, to the driver's.

    A trial of Tune's that loses its process is over; the driver's comes back and goes on in another one of Tune's,
    before all others. There are never more of them than the nodes that are up can hold, so that none waits for a
    node that is gone while the others take new ones.

    Without a driver the slots start all the same, each with a trial of Tune's that is yet to be told what to
    train. The first of them calls what the payload asks for; `opening` makes the driver of its answer.
    """

    def __init__(
        self,
        driver: Driver | None,
        slots: int,
        coordinator: Coordinator,
        nodes: NodesInUse,
        opening: Opening | None = None,
    ) -> None:
        self.driver = driver
        self.slots = slots
        self.coordinator = coordinator
        self.nodes = nodes
        self.running: dict[str, int] = {}  # Tune's id of a trial -> ours
        self.finished = False
        self.error: Exception | None = None  # of the opening
        self._opening = opening
        self._starting: list[str] = []  # Tune's ids of those that are yet to be told
        self._asked: str | None = None  # the one among them that answers the first call
        self._asked_in_vain = 0
        self._losses = Losses()
        self._waiting: set[int] = set()  # trials that came back
        self._freed: Sequence[str] = ()  # the nodes of the slot that has become free last: the next trial gets it
        self._handed_out = 0
        self._is_exhausted = False  # the driver has no more but what may come back
        self._draining = False
        if driver is not None:
            nodes.begin(driver.past_nodes(), driver.on_node)

    def config(self, tune_id: str) -> dict[str, Plain] | None:
        """What Tune's next trial starts with; None: there is no room for one now. `finished`: there will be none."""
        self.tick()  # Tune asks in a loop of its own while nothing runs
        busy = len(self.running) + len(self._starting)
        if not self.finished and busy >= min(self.slots, self.nodes.room()):
            return None
        if self.driver is None and not self.finished:
            self._starting.append(tune_id)
            is_first = self._asked is None
            self._asked = self._asked or tune_id
            return {"trial": None, "slot": tune_id, "first": is_first}
        return self._next(tune_id)

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
        else:
            self.nodes.begin(self.driver.past_nodes(), self.driver.on_node)
        starting, self._starting = self._starting, []
        for tune_id in starting:
            self.coordinator.assign(tune_id, self._next(tune_id))

    def lost(self, tune_id: str, why: str, *, nodes: Sequence[str] = (), broke: bool = False) -> None:
        """A process of Tune's trial died, or its device `broke`. `nodes`: where, if the coordinator doesn't know."""
        trial = self._leave(tune_id)
        if trial is None:
            self._lost_start(tune_id, why)
            return
        why = self.coordinator.stalled(trial) or why
        where = self.coordinator.left(trial) or tuple(nodes)
        loss = self.nodes.lost(trial, where, why, broke=broke)
        self._freed = where if loss in {Loss.PROCESS, Loss.STALLED} else ()
        reason = self._losses.again(trial, loss, why)
        if reason is None:
            self._come_back(trial)
        else:
            self._end(trial, TrialState.FAILED, reason)

    def moved(self, tune_id: str, nodes: Sequence[str], why: str) -> None:
        """The process has given its trial back, and ends: it takes none any more, or not this one."""
        trial = self._leave(tune_id)
        if trial is not None:
            self.coordinator.idle(trial)
            self.nodes.moved(trial, nodes, why)
            self._come_back(trial)

    def tick(self) -> bool:
        """True where nothing can go on, so that all trials are to be ended at once."""
        self.coordinator.tick()
        self.nodes.tick()
        if self.driver is not None and self.driver.tick() and not self._draining:
            self._draining = self.finished = True  # no new trials; those that run end at their epoch
            self.coordinator.drain()
        return self.coordinator.lost is not None or self.nodes.given_up

    def point(self, trial: int, epoch: int, metrics: Mapping[str, float], checkpoint: str | None) -> bool:
        assert self.driver is not None
        return self.driver.point(trial, epoch, metrics, checkpoint)

    def end(self, tune_id: str, state: TrialState, reason: str | None, *, nodes: Sequence[str] = ()) -> None:
        trial = self._leave(tune_id)
        if trial is not None:
            self._freed = nodes
            self.coordinator.idle(trial)
            if state is not TrialState.INTERRUPTED:
                self.nodes.ended(trial, nodes)
            self._end(trial, state, reason)

    def close(self) -> None:
        """Where Tune's loop was broken off, what ran is unfinished."""
        for tune_id in list(self.running):
            trial = self._leave(tune_id)
            assert trial is not None
            self._end(trial, TrialState.INTERRUPTED, None)

    def avoided(self, tune_id: str) -> frozenset[str]:
        """Nodes on which Tune's trial is not to be started."""
        return self.nodes.avoided(self.running.get(tune_id))

    def _next(self, tune_id: str) -> dict[str, Plain] | None:
        """The driver's next trial, from now on Tune's of that id; None when there is none now, or will be no more."""
        if self.finished or self.driver is None or (self._is_exhausted and self.running and not self._waiting):
            return None
        assignment = self.driver.next({trial for trial in self._waiting if self._must_wait(trial)})
        if assignment is None:
            self._exhaust()
            return None
        self._freed = ()
        self._handed_out += assignment.trial not in self._waiting
        self._waiting.discard(assignment.trial)
        self.running[tune_id] = assignment.trial
        return assignment.as_config(not_on=self.nodes.barred(assignment.trial))

    def _must_wait(self, trial: int) -> bool:
        """Whether the only room is on a node that lost it; others are trained there meanwhile."""
        barred = self.nodes.barred(trial)
        return (
            bool(self.running) and not barred.isdisjoint(self._freed) and len(self.running) >= self.nodes.room(barred)
        )

    def _exhaust(self) -> None:
        """The driver has no more. It may have while some run: they may come back."""
        if not self._is_exhausted:
            self.coordinator.expect(self._handed_out)
        self._is_exhausted = True
        self.finished = not self.running

    def _leave(self, tune_id: str) -> int | None:
        return self.running.pop(tune_id, None)

    def _come_back(self, trial: int) -> None:
        assert self.driver is not None
        self._waiting.add(trial)
        self.driver.back(trial)

    def _end(self, trial: int, state: TrialState, reason: str | None) -> None:
        assert self.driver is not None
        self._losses.forget(trial)
        self.driver.end(trial, state, reason)

    def _lost_start(self, tune_id: str, why: str) -> None:
        """A process died before anybody knew what it would train; the next one takes its place."""
        if tune_id in self._starting:
            self._starting.remove(tune_id)
        if tune_id != self._asked or self.driver is not None:
            return
        self._asked = None
        self._asked_in_vain += 1
        if self._asked_in_vain > RETRIES[Loss.PROCESS]:
            tried = f"given up after {self._asked_in_vain} tries: {why}"
            self.open(TuneCnnError(f"no process of a slot could be started: {tried}"))
