"""The slots' coordinator: who is up, who trains beside whom and where, who should end at the epoch, and who stands
still."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.trials.stalls.stall_round import StallRound, Told
from tune_cnn.trials.stalls.stalls import Beat
from tune_cnn.untyped import Untyped

import ray  # isort: skip

MOST_CALLS = 10_000  # at a time: each slot may wait in one for long, and Ray's 1,000 would hold up everybody's beats


class Begin(Enum):
    """What a slot that wants to begin a trial is told."""

    TRAIN = auto()
    OVER = auto()  # the search wants no more of them
    LEAVE = auto()  # its node takes no trials any more


@dataclass(frozen=True, kw_only=True)
class Pulse:
    cotenants: int  # most other trials that shared this trial's hardware since its last pulse
    draining: bool  # the search wants to end: keep a checkpoint and stop
    is_going: bool  # its node is: keep a checkpoint and go on elsewhere


@dataclass
class _Active:
    place: str
    most: int = 0  # cotenants since the last pulse


@dataclass
class Occupancy:
    """Which trials train where. Plain, so that it can be tried without Ray.

    Counted by trial: a process that dies can't say so, but its trial begins again elsewhere or ends.
    """

    trials: dict[int, _Active] = field(default_factory=dict)

    def active(self, trial: int, place: str) -> None:
        self.trials[trial] = _Active(place=place)
        others = self._others(place)
        for one in self.trials.values():
            if one.place == place:
                one.most = max(one.most, others)

    def idle(self, trial: int) -> None:
        self.trials.pop(trial, None)

    def pulse(self, trial: int) -> int:
        """Most cotenants since the last pulse."""
        mine = self.trials[trial]
        most, mine.most = mine.most, self._others(mine.place)
        return most

    def _others(self, place: str) -> int:
        return sum(one.place == place for one in self.trials.values()) - 1


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class SlotCoordinator:
    """One actor a search; asynchronous, so that waiting slots block nobody.

    Where its process is lost, Ray makes it anew. It then knows nothing, and needs little: beats and pulses say again
    who trains where, nobody is waited for, and the driver tells the rest once more (`tune_adapter`).
    """

    def __init__(self, slots: int, patience_s: float, stall_timeout_s: float | None = None) -> None:
        self._expected = slots
        self._patience_s = patience_s
        self._up: set[str] = set()
        self._all_up = asyncio.Event()
        if ray.get_runtime_context().was_current_actor_reconstructed:
            self._all_up.set()
        self._round = StallRound(stall_timeout_s)
        self._occupancy = Occupancy()
        self._draining = False
        self._going: dict[str, float] = {}  # nodes, and until when they are up; 0: nobody said
        self._aside: frozenset[str] = frozenset()  # nodes that take no trials
        self._news = asyncio.Condition()  # of nodes that are going
        self._nodes: dict[int, tuple[str, ...]] = {}  # on which a trial has begun
        self._assigned: dict[str, asyncio.Future[Untyped]] = {}  # by slot; what it trains first, None: nothing

    async def assign(self, slot: str, config: object) -> None:
        """Tell a slot that was started before anybody knew what it would train."""
        if not self._of(slot).done():  # Ray repeats a call whose answer was lost
            self._of(slot).set_result(config)

    async def is_assigned(self, slot: str) -> bool:
        return self._of(slot).done()

    async def assignment(self, slot: str) -> Untyped:
        """Wait for what `assign` tells; asked again, by the process after one that was lost, the same."""
        return await self._of(slot)

    def _of(self, slot: str) -> "asyncio.Future[Untyped]":
        return self._assigned.setdefault(slot, asyncio.get_running_loop().create_future())

    async def begin(self, slot: str, trial: int, nodes: Sequence[str], place: str) -> Begin:
        """A slot is up and begins a trial, once all slots are up."""
        await self._arrive(slot)
        if self._draining:
            return Begin.OVER
        self._nodes[trial] = tuple(nodes)
        if not self._aside.isdisjoint(nodes) or not self._going.keys().isdisjoint(nodes):
            return Begin.LEAVE
        self._occupancy.active(trial, place)
        return Begin.TRAIN

    async def keep_off(self, going: Mapping[str, float], aside: Collection[str]) -> None:
        """These nodes take no trials; those that are going have their trials leave."""
        async with self._news:
            self._going, self._aside = dict(going), frozenset(aside)
            self._news.notify_all()

    async def notice(self, nodes: Sequence[str]) -> float:
        """Wait until one of the nodes is going; until when it is up, in seconds since 1970, 0 where nobody said."""
        async with self._news:
            await self._news.wait_for(lambda: not self._going.keys().isdisjoint(nodes))
        return min((self._going[node] for node in nodes if self._going.get(node)), default=0.0)

    async def left(self, trial: int) -> tuple[str, ...]:
        """A trial has left its slot; the nodes on which it had begun."""
        self._occupancy.idle(trial)
        return self._nodes.pop(trial, ())

    async def _arrive(self, slot: str) -> None:
        """Wait, bounded, until all slots are up.

        Without it a short trial would end while another slot's actor still starts; Tune would hand the cached
        actor to the trial waiting for that one, drop the one being started, and the slot would be lost.
        """
        self._up.add(slot)
        if len(self._up) >= self._expected:
            self._all_up.set()
        try:
            await asyncio.wait_for(self._all_up.wait(), self._patience_s)
        except TimeoutError:
            self._all_up.set()  # nobody waits twice for a slot that does not come

    async def expect(self, slots: int) -> None:
        """There are fewer trials than was thought: wait for so many slots at most."""
        self._expected = min(self._expected, slots)
        if len(self._up) >= self._expected:
            self._all_up.set()

    async def pulse(self, trial: int, nodes: Sequence[str], place: str) -> Pulse:
        if trial not in self._occupancy.trials:
            self._occupancy.active(trial, place)
            self._nodes[trial] = tuple(nodes)
        is_going = not self._going.keys().isdisjoint(nodes)
        return Pulse(cotenants=self._occupancy.pulse(trial), draining=self._draining, is_going=is_going)

    async def drain(self) -> None:
        self._draining = True
        self._all_up.set()

    async def beat(self, beat: Beat) -> float:
        """A rank tells how it stands; in how many seconds it should again."""
        return self._round.hear(beat)

    async def told(self, known: int) -> Told:
        """What stood still and was ended, from that number on."""
        return self._round.told(known)
