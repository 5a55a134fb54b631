"""The round that looks after all ranks of a search: hears their beats, looks at those that stand still, and ends them.

It lives in the coordinator's process, outside of every process that it watches.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tune_cnn.errors import first_line
from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.trials.stalls.node_processes import GONE, Seen, look_at
from tune_cnn.trials.stalls.stalls import Beat, Process, StallWatch, Suspicion, frozen
from tune_cnn.untyped import Untyped

import ray  # isort: skip
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

log = logging.getLogger(__name__)
EVERY_S = 1.0
NODE_S = 30.0  # for a node to answer: the process that looks may have to be started there, on cores that are busy


@dataclass(frozen=True, kw_only=True)
class Stall:
    """A trial's processes that stood still and were ended."""

    trial: int | None  # None: they had none
    why: str  # one line, which begins with `errors.STALLED`
    stacks: str  # of all ranks, for a file


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the driver hears of it."""

    incarnation: str  # another one: the coordinator was made anew, and has forgotten all
    stalls: list[Stall]


class StallRound:
    """One a search. All its methods run in one event loop."""

    def __init__(self, timeout_s: float | None) -> None:
        self._watch = StallWatch(timeout_s)
        self._incarnation = uuid.uuid4().hex
        self._stalls: list[Stall] = []
        self._seen_to: dict[str, asyncio.Task[None]] = {}  # by slot
        self._going: asyncio.Task[None] | None = None

    def hear(self, beat: Beat) -> float:
        """In how many seconds the rank should tell again. The first one begins the round."""
        if self._going is None:
            self._going = asyncio.get_running_loop().create_task(self._go_round())
        self._watch.hear(beat, time.monotonic())
        return self._watch.beat_every_s

    def told(self, known: int) -> Told:
        return Told(incarnation=self._incarnation, stalls=self._stalls[known:])

    async def _go_round(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            for suspicion in self._watch.look(time.monotonic()):
                if suspicion.slot not in self._seen_to:
                    task = asyncio.get_running_loop().create_task(self._see_to(suspicion))
                    self._seen_to[suspicion.slot] = task

    async def _see_to(self, suspicion: Suspicion) -> None:
        slot = suspicion.slot
        try:
            if await _node_is_lost(suspicion.beats):  # Ray notices: the trial goes on elsewhere, it is no stall
                self._watch.forget(slot)
                return
            why = suspicion.why or await self._frozen(suspicion)
            if why is not None:
                seen = await _looked_at(suspicion.beats, end=False)
                stacks = "\n".join(_shown(beat, seen.get(beat.rank)) for beat in suspicion.beats)
                # told before they end: the driver hears of lost processes at once, and asks why
                self._stalls.append(Stall(trial=suspicion.trial, why=why, stacks=f"{why}\n\n{stacks}"))
                await _looked_at(suspicion.beats, end=True)
                self._watch.forget(slot)
        except Exception:  # one that could not be seen to is suspected again
            log.exception("slot %s stands still, and could not be looked at", slot)
        finally:
            del self._seen_to[slot]

    async def _frozen(self, suspicion: Suspicion) -> str | None:
        """Why a slot whose ranks are silent is to be ended; None where they are busy, or gone, which Ray notices."""
        silent = [beat for beat in suspicion.beats if beat.rank in suspicion.silent]
        seen = await _looked_at(silent, end=False)
        if seen and all(one.state == GONE for one in seen.values()):
            self._watch.forget(suspicion.slot)
            return None
        self._watch.found_alive(suspicion.slot, time.monotonic())
        return frozen(suspicion, {rank: one.state for rank, one in seen.items()})


async def _node_is_lost(beats: Iterable[Beat]) -> bool:
    """Whether a node that one of these ranks is on is a part of the cluster no more."""
    nodes: list[Untyped] = await asyncio.to_thread(ray.nodes)
    alive = {node["NodeID"] for node in nodes if node["Alive"]}
    return any(beat.process.node not in alive for beat in beats)


async def _looked_at(beats: Iterable[Beat], *, end: bool) -> dict[int, Seen]:
    """The ranks' processes, seen on their nodes, all at the same time; those of a node that doesn't answer are left
    out."""
    nodes: dict[str, dict[int, Process]] = {}
    for beat in beats:
        nodes.setdefault(beat.process.node, {})[beat.rank] = beat.process
    answers = await asyncio.gather(*(_on_node(node, processes, end=end) for node, processes in nodes.items()))
    return {rank: seen for answer in answers for rank, seen in answer.items()}


async def _on_node(node: str, processes: Mapping[int, Process], *, end: bool) -> Mapping[int, Seen]:
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    ref: Untyped = _look.options(scheduling_strategy=there).remote(dict(processes), end)
    try:
        seen: dict[int, Seen] = await asyncio.wait_for(ref, NODE_S)
        return seen
    except (RayError, TimeoutError) as error:
        log.warning("node %s can't be asked of processes that stand still: %s", node, first_line(error))
        return {}


@ray.remote(num_cpus=0, max_retries=1)
def _look(processes: Mapping[int, Process], end: bool) -> dict[int, Seen]:
    return look_at(processes, end=end)


def _shown(beat: Beat, seen: Seen | None) -> str:
    moved = beat.moved
    said = seen.text if seen is not None else f"its node has not answered in {NODE_S:.0f} s\n"
    return (
        f"rank {beat.rank} on {beat.process.host}, process {beat.process.pid}: {moved.doing}, without progress for "
        f"{moved.idle_s:.0f} s when it last told\n{said}"
    )
