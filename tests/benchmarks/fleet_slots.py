"""Slots and nodes of a simulated fleet, which come, train, are lost and are replaced."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from fleet_parts import Adapted, Clock, Cluster, Fleet, Spent, Told, Work, work_of

from tune_cnn.states import TrialState
from tune_cnn.study.searching.driver import SearchDriver
from tune_cnn.trials.nodes.nodes_in_use import NodesInUse
from tune_cnn.trials.tune_adapter import TuneAdapter


class Slot:
    """Room on a node for one trial at a time."""

    def __init__(self, simulation: "Simulation", node: str) -> None:
        self._of, self._node = simulation, node
        self.up = True
        self.work: Work | None = None
        self.tune_id = ""
        self._since_s = simulation.clock.now_s  # of what the slot is doing now
        self._doing = "cold start"
        self._round = 0  # events of a trial that has left are of no effect
        simulation.clock.after(simulation.fleet.cold_start, self.ask)

    def ask(self) -> None:
        """Tune asks for a trial for a warm, free process."""
        if not self.up or self.work is not None:
            return
        self._turn("idle")
        self.tune_id = self._of.new_id()
        config = self._of.adapted("config", self.tune_id)
        if config is None:
            if not self._of.adapted.finished:
                self._of.clock.after(1.0, self.ask)
            return
        self.work = work = self._of.work(config)
        self._of.told.nodes[work.trial] = (self._node,)
        begun = work.epoch > 0 or work.within_s > 0
        self._turn("trial start")
        self._later(self._of.fleet.trial_start + begun * self._of.fleet.restore, self._train)

    def _train(self) -> None:
        assert self.work is not None
        self._turn("checkpoints")  # what is left of a stretch of training beside the training itself
        self._from_s = self.work.within_s
        left_s, fleet = self.work.epoch_s - self._from_s, self._of.fleet
        self._later(left_s + fleet.checkpoint * (left_s // fleet.checkpoint_every), self._epoch_ended)

    def _epoch_ended(self) -> None:
        work = self.work
        assert work is not None
        self._turn("checkpoints", useful_s=work.epoch_s - self._from_s)
        work.epoch, work.within_s = work.epoch + 1, 0.0
        stop = self._of.adapted("point", work.trial, work.epoch, work.metrics(), f"checkpoint-{work.epoch}")
        if stop or work.epoch == work.epochs:
            state = TrialState.COMPLETE if work.epoch == work.epochs else TrialState.STOPPED
            self.work = None
            self._of.adapted("end", self.tune_id, state, None)
            self.ask()
        else:
            self._train()

    def leave(self) -> None:
        """The node is going: write a checkpoint at the next step, and leave the trial to another slot."""
        if self.work is not None:
            useful_s = 0.0
            if self._doing == "checkpoints":
                useful_s = self._trained_s()
                self.work.within_s = self._from_s + useful_s
            self._turn("after the notice", useful_s=useful_s)
            self._of.adapted("moved", self.tune_id, (self._node,), "its node is going")
        self._turn("after the notice")
        self._end()

    def lose(self) -> None:
        """The node is gone, and with it what was trained since the last checkpoint."""
        work, useful_s = self.work, 0.0
        if work is not None and self._doing == "checkpoints":
            every_s = self._of.fleet.checkpoint_every
            useful_s = self._trained_s() // every_s * every_s
            work.within_s = self._from_s + useful_s
            self._doing = "trained, and lost"
        self._turn("gone", useful_s=useful_s)
        self._end()
        if work is not None:
            self._of.lost(self.tune_id)

    def close(self) -> None:
        """The simulation ends: what has been trained of an epoch counts, it would be told later."""
        trained_s = self._trained_s() if self._doing == "checkpoints" else 0.0
        self._turn("gone", useful_s=trained_s)

    def _end(self) -> None:
        self.up, self.work = False, None
        self._round += 1

    def _trained_s(self) -> float:
        """Of this stretch of training, checkpoints aside."""
        assert self.work is not None
        fleet, gone_s = self._of.fleet, self._of.clock.now_s - self._since_s
        part = fleet.checkpoint_every / (fleet.checkpoint_every + fleet.checkpoint)
        return min(self.work.epoch_s - self._from_s, gone_s * part)

    def _turn(self, doing: str, *, useful_s: float = 0.0) -> None:
        """What the slot has been doing is over; `useful_s` of it was training that counts."""
        if self._doing != "gone":
            spent = self._of.spent
            spent.useful += useful_s
            spent.other[self._doing] += self._of.clock.now_s - self._since_s - useful_s
        self._since_s, self._doing = self._of.clock.now_s, doing

    def _later(self, seconds: float, happens: Callable[[], None]) -> None:
        """Unless the slot is gone by then, or does something else."""
        self._round += 1
        now = self._round
        self._of.clock.after(seconds, lambda: happens() if self._round == now else None)


class Simulation:
    """One search over one fleet."""

    def __init__(self, fleet: Fleet, search: SearchDriver, clock: Clock, *, seed: int) -> None:
        self.fleet, self.clock, self.told = fleet, clock, Told()
        self._cluster = Cluster(fleet.slots)
        for number in range(fleet.nodes):
            self._cluster.joins(f"node-{number}")
        nodes = NodesInUse(self._cluster, [{"CPU": 1.0}], packed=True, keep_off=lambda going, aside: None)
        told: Any = self.told
        self.adapted = Adapted(TuneAdapter(search, fleet.nodes * fleet.slots, told, nodes))
        self.spent = Spent()
        self.losses = Counter[str]()
        self._random = np.random.default_rng(seed)
        self._works: dict[int, Work] = {}
        self._ids = 0
        self._joined = fleet.nodes
        self._slots: list[Slot] = []

    def run(self, hours: float) -> None:
        for number in range(self.fleet.nodes):
            self._begins(f"node-{number}")
        self._tick()
        self.clock.run(hours * 3600)
        for slot in self._slots:
            slot.close()

    def work(self, config: dict[str, Any]) -> Work:
        trial = config["trial"]
        return self._works.setdefault(trial, work_of(trial, config["params"]))

    def new_id(self) -> str:
        self._ids += 1
        return f"tune-{self._ids}"

    def lost(self, tune_id: str) -> None:
        """Its node is gone; Ray says so later."""
        self.clock.after(self.fleet.noticed, lambda: self.adapted("lost", tune_id, "its node died"))

    def _tick(self) -> None:
        self.adapted("tick")
        self.clock.after(1.0, self._tick)

    def _joins(self) -> None:
        node = f"node-{self._joined}"
        self._joined += 1
        self._cluster.joins(node)
        self._begins(node)

    def _begins(self, node: str) -> None:
        slots = [Slot(self, node) for _ in range(self.fleet.slots)]
        self._slots += slots
        lives_s = self._random.exponential(3600 / self.fleet.loss_per_hour) if self.fleet.loss_per_hour else np.inf
        if not np.isfinite(lives_s):
            return
        if self._random.random() < self.fleet.with_notice:
            self.clock.after(lives_s, lambda: self._notice(node, slots))
            lives_s += self.fleet.notice
        self.clock.after(lives_s, lambda: self._dies(node, slots))

    def _notice(self, node: str, slots: list[Slot]) -> None:
        self.losses["with notice"] += 1
        self._cluster.is_going(node, self.clock.now_s + self.fleet.notice)
        for slot in slots:
            slot.leave()

    def _dies(self, node: str, slots: list[Slot]) -> None:
        self.losses["nodes"] += 1
        self.clock.after(self.fleet.noticed, lambda: self._cluster.leaves(node))  # before what was there is missed
        for slot in slots:
            slot.lose()
        self.clock.after(self.fleet.replaced, self._joins)
