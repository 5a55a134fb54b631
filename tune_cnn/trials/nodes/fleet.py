"""The nodes as they are now: a thread asks Ray every second, so that Tune's loop never waits for the answer."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.trials.nodes.placing import Bundle, room
from tune_cnn.untyped import Plain

import ray  # isort: skip
from ray._private.state import state  # the one place that tells which nodes are going

log = logging.getLogger(__name__)

CONNECT_S = 2.0  # a process that is there takes a connection at once, a machine that is gone never
EVERY_S = 1.0  # a node that is going has half a minute at least: Ray's own notice at SIGTERM


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """What Ray knew of the cluster at one moment, by the nodes' ids."""

    hosts: Mapping[str, str] = field(default_factory=dict)  # of those that are up
    resources: Mapping[str, Mapping[str, Plain]] = field(default_factory=dict)  # of the same
    going: Mapping[str, float] = field(default_factory=dict)  # until when, in seconds since 1970; 0: nobody said
    raylets: Mapping[str, tuple[str, int]] = field(default_factory=dict)  # address and port of Ray's own process there

    def room(self, bundles: Sequence[Bundle], *, packed: bool, without: Collection[str] = ()) -> int:
        """Trials that the nodes which stay can hold at a time."""
        staying = [found for node, found in self.resources.items() if node not in self.going and node not in without]
        return room(bundles, staying, packed=packed)

    def without(self, silent: Collection[str]) -> "Nodes":
        """Those that answer."""
        if not silent:
            return self
        hosts = {node: host for node, host in self.hosts.items() if node not in silent}
        return replace(self, hosts=hosts, resources={node: self.resources[node] for node in hosts})


def ask() -> Nodes:
    """Of Ray, which must be connected. Takes milliseconds, unless its GCS doesn't answer."""
    up = [node for node in ray.nodes() if node["Alive"]]
    hosts = {node["NodeID"]: node["NodeManagerHostname"] for node in up}
    going = {node: deadline_ms / 1e3 for node, deadline_ms in state.get_draining_nodes().items() if node in hosts}
    return Nodes(
        hosts=hosts,
        resources={node["NodeID"]: node["Resources"] for node in up},
        going=going,
        raylets={node["NodeID"]: (node["NodeManagerAddress"], node["NodeManagerPort"]) for node in up},
    )


def answers(raylet: tuple[str, int]) -> bool:
    """Whether Ray's process on a node takes connections: Ray may call a node alive for a minute after its end."""
    try:
        socket.create_connection(raylet, timeout=CONNECT_S).close()
    except OSError:
        return False
    return True


class FleetWatch:
    """Asks in a thread while the block runs; `now` is what it heard last."""

    def __init__(
        self,
        ask: Callable[[], Nodes] = ask,
        answers: Callable[[tuple[str, int]], bool] = answers,
        *,
        every_s: float = EVERY_S,
    ) -> None:
        self._ask, self._answers, self._every_s = ask, answers, every_s
        self._ended = threading.Event()
        self._silent: frozenset[str] = frozenset()  # nodes that Ray calls alive, and that don't answer
        self.now = ask()
        self._thread = threading.Thread(target=self._watch, name="fleet-watch", daemon=True)

    def look(self, at: Collection[str]) -> Nodes:
        """Ask at once, and these nodes themselves: after a loss there, Ray may not know yet that they are gone."""
        self._hear(self._ask(), {*self._silent, *at})
        return self.now

    def _hear(self, said: Nodes, doubted: Collection[str]) -> None:
        self._silent = frozenset(
            node for node in doubted if node in said.raylets and not self._answers(said.raylets[node])
        )
        found = said.without(self._silent)
        if found != self.now:  # one and the same object while nothing has changed
            self.now = found

    def _watch(self) -> None:
        while not self._ended.wait(self._every_s):
            try:
                self._hear(self._ask(), self._silent)
            except Exception as error:  # whatever Ray raises while its GCS is away: the last answer holds
                log.debug("Ray does not say what nodes there are: %s", error)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._ended.set()
        self._thread.join(self._every_s)  # one that hangs in Ray is left to it


def node_of_actor(actor_id: str | None) -> str | None:
    """The node on which an actor is, or was; None where Ray doesn't know any more."""
    if actor_id is None:
        return None
    known = state.actor_table(actor_id) or {}
    return known.get("Address", {}).get("NodeID") or None


def in_words(deadline: float) -> str:
    """How long a node still has."""
    return f"in {max(0.0, deadline - time.time()):.0f} s" if deadline else "soon"
