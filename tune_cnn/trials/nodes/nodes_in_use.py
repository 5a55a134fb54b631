"""Which nodes take trials: not those that are going, nor those that lose what others train."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from tune_cnn.trials.nodes.fleet import Nodes, in_words
from tune_cnn.trials.nodes.losses import Loss, loss_of
from tune_cnn.trials.nodes.node_health import Happened, NodeEvent, Suspicion
from tune_cnn.trials.nodes.placing import Bundle

WAIT_S = 600.0  # for a node, where none is left: an operator starts one within minutes, or tomorrow
AUTOSCALED_S = 3600.0  # the same where an autoscaler may add one: spot capacity comes back within the hour, or not soon
NOT_THERE = "?"  # the host of a node that Ray does not know any more


class Fleet(Protocol):
    """What is known of the cluster; the real one is `fleet.FleetWatch`."""

    now: Nodes

    def look(self, at: Collection[str]) -> Nodes:
        """Ask at once, and these nodes themselves."""


class NodesInUse:
    """Lives for one phase, in Tune's loop."""

    def __init__(
        self,
        fleet: Fleet,
        bundles: Sequence[Bundle],
        *,
        packed: bool,
        keep_off: Callable[[Mapping[str, float], Collection[str]], None],
        wait_s: float = WAIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`keep_off` tells the slots which nodes are going, until when, and which are set aside; `wait_s`: how long
        trials may wait where no node is left."""
        self._fleet, self._bundles, self._packed, self._keep_off = fleet, bundles, packed, keep_off
        self._suspicion = Suspicion()
        self._lost_on: dict[int, set[str]] = {}
        self._hosts: dict[str, str] = {}  # of every node that was ever up
        self._going: dict[str, float] = {}
        self.aside: dict[str, str] = {}  # nodes that take no trials, and why
        self._wait_s, self._clock = wait_s, clock
        self._none_since_s: float | None = None  # None: some node takes trials
        self.given_up = False  # none came in time
        self._counted: dict[frozenset[str], int] = {}  # rooms of `_counted_on`, by the nodes that are left out
        self._counted_on = fleet.now
        self._tell: Callable[[NodeEvent], None] = lambda event: None

    def begin(self, past: Iterable[NodeEvent], tell: Callable[[NodeEvent], None]) -> None:
        """`past`: what the study knows of its nodes; `tell` hears of all that happens to them from now on."""
        for event in past:
            self._suspicion.note(event)
            if event.happened is Happened.ASIDE:
                self.aside[event.node] = event.why or ""
            elif event.happened is Happened.BACK:
                self.aside.pop(event.node, None)
        self._tell = tell
        self._keep_off(self._going, self.aside)

    def room(self, without: Collection[str] = ()) -> int:
        """Trials that can run at a time, on nodes that take some."""
        return self._room(frozenset({*self.aside, *without}))

    def barred(self, trial: int) -> frozenset[str]:
        """Nodes that lost this trial, while there are others."""
        lost_on = self._lost_on.get(trial, set())
        return frozenset(lost_on if lost_on and self.room(lost_on) else ())

    def avoided(self, trial: int | None) -> frozenset[str]:
        """Nodes on which this trial is not to be started."""
        return frozenset(self.aside) | (self.barred(trial) if trial is not None else frozenset())

    def tick(self) -> None:
        """Take note of what has changed in the cluster."""
        now = self._fleet.now
        self._hosts |= now.hosts
        if now.going.keys() != self._going.keys():
            for node in now.going.keys() - self._going.keys():
                self._note(node, Happened.GOING, why=f"is going {in_words(now.going[node])}")
            self._going = dict(now.going)
            self._keep_off(self._going, self.aside)
        if self.aside and not self.room() and self._room(frozenset()):
            self._set_aside({}, "no other node is left")
        if self.room() > 0:
            self._none_since_s = None
        elif self._none_since_s is None:
            self._none_since_s = self._clock()
            waits = f"no node takes trials now: one is waited for, {self._wait_s / 60:.0f} minutes long"
            self._tell(NodeEvent(node="", host="", happened=Happened.NONE_LEFT, why=waits))
        elif not self.given_up and self._clock() - self._none_since_s >= self._wait_s:
            self.given_up = True
            why = f"no node has taken trials for {self._wait_s / 60:.0f} minutes"
            self._tell(NodeEvent(node="", host="", happened=Happened.GIVEN_UP, why=why))

    def ended(self, trial: int, nodes: Sequence[str]) -> None:
        """A trial has ended on these nodes, well or not."""
        self._lost_on.pop(trial, None)
        self._note_trial(trial, nodes, Happened.ENDED, None)

    def moved(self, trial: int, nodes: Sequence[str], why: str) -> None:
        """A trial has left them by itself."""
        self._note_trial(trial, nodes, Happened.MOVED, why)

    def lost(self, trial: int, nodes: Sequence[str], why: str, *, broke: bool) -> Loss:
        """A trial has lost its process there, or its device where it `broke`; what that was."""
        now = self._fleet.look(nodes)
        self.tick()
        if any(node in self._going for node in nodes):
            self._note_trial(trial, nodes, Happened.MOVED, why)
            return Loss.MOVED
        loss = loss_of(why, node_is_gone=any(node not in now.hosts for node in nodes))
        if loss is Loss.NODE:
            self._note_trial(trial, nodes, Happened.GONE, why)
        else:
            self._lost_on.setdefault(trial, set()).update(nodes)
            self._note_trial(trial, nodes, Happened.BROKE if broke else Happened.LOST, why)
        return loss

    def _room(self, without: frozenset[str]) -> int:
        """Counted once for what is known of the cluster: Tune asks ten times a second."""
        now = self._fleet.now
        if now is not self._counted_on:
            self._counted, self._counted_on = {}, now
        if without not in self._counted:
            self._counted[without] = now.room(self._bundles, packed=self._packed, without=without)
        return self._counted[without]

    def _note_trial(self, trial: int, nodes: Sequence[str], happened: Happened, why: str | None) -> None:
        for node in dict.fromkeys(nodes):
            self._note(node, happened, trial=trial, why=why)
        # Of a trial over several nodes nobody knows which of them lost it.
        if len(set(nodes)) == 1:
            self._judge()

    def _judge(self) -> None:
        """Set nodes aside that lose what others train, as long as some are left."""
        aside: dict[str, str] = {}
        for node, why in self._suspicion.suspects().items():
            if self._room(frozenset({*aside, node})):
                aside[node] = why
        if aside.keys() != self.aside.keys():
            self._set_aside(aside, "what it lost was lost elsewhere too")

    def _set_aside(self, aside: Mapping[str, str], why_back: str) -> None:
        before, self.aside = self.aside, dict(aside)
        for node in aside.keys() - before.keys():
            self._note(node, Happened.ASIDE, why=aside[node])
        for node in before.keys() - aside.keys():
            self._note(node, Happened.BACK, why=why_back)
        self._keep_off(self._going, self.aside)

    def _note(self, node: str, happened: Happened, *, trial: int | None = None, why: str | None = None) -> None:
        event = NodeEvent(node=node, host=self._hosts.get(node, NOT_THERE), happened=happened, trial=trial, why=why)
        self._suspicion.note(event)
        self._tell(event)
