"""A search on a fleet that breaks, on a simulated clock: 200 nodes of 4 slots, spot losses, trials of 1 to 60 minutes.

    python tests/benchmarks/fleet.py --hours 6 --out fleet.json
    python tests/benchmarks/fleet.py --hours 6 --postgresql --out fleet.json

What decides is real: `SearchDriver` with its search, stopper and budget, `TuneAdapter`, and a store that commits every
epoch. Simulated are the nodes, what Ray does with them, and the training, whose curves and times come from a hash of
the configuration. A lost node gives notice or none; its trials go on from their last checkpoint where the driver sends
them; another node takes its place some minutes later. The clock of the driver is the simulated one, its CPU is real.

Printed: the share of the slots' time that was training and evaluation of epochs that count, where the rest went, the
driver's CPU seconds for a result, and how many results a second its store could take beside how many came.
"""

import argparse
import hashlib
import heapq
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from measured import machine, save, show

sys.path.append(str(Path(__file__).parents[1]))
from database_server import postgres
from study.made_up import session_of

from tune_cnn.records.store import Store
from tune_cnn.search.search import Search
from tune_cnn.spec import StudySpec, parse_spec
from tune_cnn.states import TrialState
from tune_cnn.study.searching import budget, driver, running
from tune_cnn.study.searching.budget import PhaseEnd
from tune_cnn.study.searching.driver import SearchDriver
from tune_cnn.trials.fleet import Nodes
from tune_cnn.trials.nodes_in_use import NodesInUse
from tune_cnn.trials.tune_adapter import TuneAdapter

SPEC = {
    "study": "fleet",
    "data": {"name": "digits"},
    "model": {"name": "small_cnn"},
    "objectives": ["accuracy", "train_time_s"],
    "space": {
        "epochs": 12,
        "batch_size": [32, 64, 128, 256, 512, 1024],
        "learning_rate": {"low": 0.001, "high": 1.0, "log": True},
        "lr_rule": ["none", "sqrt", "linear"],
        "weight_decay": {"low": 1e-5, "high": 1e-2, "log": True},
        "label_smoothing": {"low": 0.0, "high": 0.2},
    },
}
SHORTEST_S, LONGEST_S = 60.0, 3600.0  # of a whole trial
EVAL_SHARE = 0.05  # of an epoch's training


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """What the nodes are like. Times in seconds."""

    nodes: int = 200
    slots: int = 4  # of a node
    loss_per_hour: float = 0.05  # of the nodes
    with_notice: float = 0.5  # share of the losses that are announced
    notice: float = 120.0  # a spot market's
    noticed: float = 30.0  # until Ray has seen that a node is gone
    replaced: float = 180.0  # until another node is there
    cold_start: float = 15.0  # of a slot's process: Ray's worker, torch, the images
    trial_start: float = 1.0  # model, optimizer, loader, warm-up
    restore: float = 3.0  # reading a checkpoint on top of it
    checkpoint_every: float = 30.0
    checkpoint: float = 0.3


class Clock:
    """Simulated seconds, and what happens when."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def after(self, seconds: float, happens: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now_s + seconds, self._count, happens))

    def run(self, until_s: float) -> None:
        while self._events and self._events[0][0] <= until_s:
            self.now_s, _, happens = heapq.heappop(self._events)
            happens()
        self.now_s = until_s


@dataclass(kw_only=True)
class Work:
    """A trial's training, wherever it goes on."""

    trial: int
    epochs: int
    epoch_s: float  # training and evaluation
    drawn: float  # how good it is
    epoch: int = 0  # told
    within_s: float = 0.0  # of the next epoch, in the last checkpoint

    def metrics(self) -> dict[str, float]:
        reached = 1 - np.exp(-4 * self.epoch / self.epochs)
        train_s = self.epoch * self.epoch_s / (1 + EVAL_SHARE)
        return {"accuracy": 0.4 + 0.55 * self.drawn * reached, "train_time_s": train_s}


def work_of(trial: int, params: dict[str, Any]) -> Work:
    """By a hash of the configuration: times from the shortest to the longest, evenly on a log scale."""
    digest = hashlib.sha256(json.dumps(params, sort_keys=True, default=str).encode()).digest()
    long, good = (int.from_bytes(digest[at : at + 8], "big") / 2**64 for at in (0, 8))
    whole_s = SHORTEST_S * (LONGEST_S / SHORTEST_S) ** long
    return Work(
        trial=trial, epochs=params["epochs"], epoch_s=whole_s / params["epochs"], drawn=good * (0.7 + 0.3 * long)
    )


@dataclass(kw_only=True)
class Spent:
    """Where the slots' time went, in seconds."""

    useful: float = 0.0  # training and evaluation of epochs that were told, each once
    other: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> float:
        return self.useful + sum(self.other.values())


class Told:
    """In the place of the adapter's coordinator: knows on which node each trial is, and that nobody stalls."""

    lost = None

    def __init__(self) -> None:
        self.nodes: dict[int, tuple[str, ...]] = {}  # by trial

    def left(self, trial: int) -> tuple[str, ...]:
        return self.nodes.pop(trial, ())

    def idle(self, trial: int) -> None:
        self.nodes.pop(trial, None)

    def stalled(self, trial: int) -> str | None:
        return None

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


class Cluster:
    """What Ray would say of the nodes; `trials.nodes_in_use` asks it."""

    def __init__(self, slots: int) -> None:
        self._cpus = float(slots)
        self._up: set[str] = set()
        self._going: dict[str, float] = {}
        self.now = Nodes()

    def joins(self, node: str) -> None:
        self._up.add(node)
        self._say()

    def is_going(self, node: str, until_s: float) -> None:
        self._going[node] = until_s
        self._say()

    def leaves(self, node: str) -> None:
        self._up.discard(node)
        self._going.pop(node, None)
        self._say()

    def look(self, at: Collection[str]) -> Nodes:
        return self.now

    def _say(self) -> None:
        up = sorted(self._up)
        resources = {node: {"CPU": self._cpus} for node in up}
        self.now = Nodes(hosts={node: node for node in up}, resources=resources, going=dict(self._going))


class Adapted:
    """The real adapter and its driver, with the CPU seconds that they took."""

    def __init__(self, adapter: TuneAdapter) -> None:
        self._adapter = adapter
        self.cpu_s = 0.0
        self.results = 0

    def __call__(self, method: str, *arguments: Any) -> Any:
        began_s = time.process_time()
        try:
            return getattr(self._adapter, method)(*arguments)
        finally:
            self.cpu_s += time.process_time() - began_s
            self.results += method == "point"

    @property
    def finished(self) -> bool:
        return self._adapter.finished


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


@contextmanager
def simulated(clock: Clock) -> Iterator[None]:
    """The driver and its budget go by the simulated clock."""
    told = SimpleNamespace(monotonic=lambda: clock.now_s)
    with ExitStack() as stack:
        for module in (driver, budget, running):
            stack.enter_context(mock.patch.object(module, "time", told))
        yield


def search_fleet(fleet: Fleet, spec: StudySpec, store: Store, *, hours: float, seed: int) -> dict[str, Any]:
    """One search; a row of the table."""
    clock, count = Clock(), fleet.nodes * fleet.slots
    store.create_study(spec.study, spec.model_dump(), info={})
    with simulated(clock), store.lease(spec.study):
        began_s, cpu_s = time.perf_counter(), time.process_time()
        search = SearchDriver(
            session_of(store, spec), Search(spec), slots=count, show=lambda progress: None, forget=lambda trial: None
        )
        search.begin_phase(0.0, count, end=PhaseEnd())
        simulation = Simulation(fleet, search, clock, seed=seed)
        simulation.run(hours)
        took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    if search.failure is not None:
        raise search.failure
    spent, results = simulation.spent, simulation.adapted.results
    return {
        "useful_pct": 100 * spent.useful / spent.total,
        **{f"{name}_pct": 100 * seconds / spent.total for name, seconds in spent.other.most_common() if name != "gone"},
        "nodes_lost": simulation.losses["nodes"],
        "of_them_announced": simulation.losses["with notice"],
        "results": results,
        "results_per_s": results / (hours * 3600),
        "trials": search.counts,
        "doubled_or_missing": holes(store, spec.study),
        "driver_cpu_ms_per_result": 1e3 * simulation.adapted.cpu_s / results,
        "driver_cpu_pct_of_a_core": 100 * simulation.adapted.cpu_s / (hours * 3600),
        "search_took_s": took_s,
        "search_cpu_s": cpu_s,
    }


def holes(store: Store, study: str) -> int:
    """Epochs that are missing between a trial's first and last, or stand twice."""
    epochs: dict[int, list[int]] = {}
    for point in store.points(study):
        epochs.setdefault(point.trial, []).append(point.epoch)
    return sum(sorted(mine) != list(range(1, len(mine) + 1)) for mine in epochs.values())


def store_rate(store: Store, spec: StudySpec, *, seconds: float) -> float:
    """Results a second that the store takes, one commit each, one after another as the driver makes them."""
    store.create_study(spec.study, spec.model_dump(), info={})
    with store.lease(spec.study):
        store.add_trial(spec.study, 0, {"epochs": 1}, seed=0)
        metrics = {f"metric_{number}": float(number) for number in range(20)}  # as many as a trial on a CPU tells
        began_s, epoch = time.perf_counter(), 0
        while time.perf_counter() - began_s < seconds:
            epoch += 1
            store.add_point(spec.study, 0, epoch, metrics, checkpoint="checkpoint")
        return epoch / (time.perf_counter() - began_s)


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--slots", type=int, default=4, help="of a node")
    parser.add_argument("--hours", type=float, default=6.0, help="simulated")
    parser.add_argument("--loss-pct", type=float, default=5.0, help="of the nodes, an hour")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate-s", type=float, default=10.0, help="seconds for a store's rate")
    parser.add_argument(
        "--stopper", choices=("both", "with", "without"), default="both", help="trials are stopped early"
    )
    parser.add_argument("--postgresql", action="store_true", help="the rate of a PostgreSQL of its own too")
    parser.add_argument("--out", type=Path, default=Path("fleet.json"), help="JSON file")
    return parser


def main() -> None:
    asked = command_line().parse_args()
    of_machine = machine()
    fleet = Fleet(nodes=asked.nodes, slots=asked.slots, loss_per_hour=asked.loss_pct / 100)
    rows, rates = [], []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        places = {"SQLite": str(folder)}
        if asked.postgresql:
            places["PostgreSQL"] = stack.enter_context(postgres())
        for name, place in places.items():
            store = Store(place)
            stack.callback(store.close)
            rates.append({"store": name, "results_per_s": store_rate(store, named("rate"), seconds=asked.rate_s)})
        for stops in {"both": (False, True), "with": (True,), "without": (False,)}[asked.stopper]:
            store = Store(folder / f"stops-{stops}")
            stack.callback(store.close)
            spec = named("fleet", **({} if stops else {"stopper": "none"}))
            rows.append({"stopper": stops, **search_fleet(fleet, spec, store, hours=asked.hours, seed=asked.seed)})
    show(rates)
    for row in rows:
        show([{"what": name, "value": value} for name, value in row.items()])
    save(asked.out, {"machine": of_machine, "fleet": vars(fleet), "hours": asked.hours, "rows": rows, "rates": rates})


def named(study: str, **changes: Any) -> StudySpec:
    return parse_spec({**SPEC, "study": study, "budget": {"trials": 10**6}, **changes})


if __name__ == "__main__":
    main()
