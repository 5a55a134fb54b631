"""The parts of a simulated fleet: its nodes, its clock, its trials, and what Ray would say of it."""

import hashlib
import heapq
import json
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tune_cnn.trials.nodes.fleet import Nodes
from tune_cnn.trials.tune_adapter import TuneAdapter

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
