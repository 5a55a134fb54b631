"""The slots' board: who is up, who trains beside whom, and whether all should end at their epoch."""

import asyncio
from dataclasses import dataclass, field

from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)

import ray  # isort: skip


@dataclass(frozen=True, kw_only=True)
class Pulse:
    cotenants: int  # most other trials that shared this trial's hardware since its last pulse
    draining: bool  # the search wants to end: keep a checkpoint and stop


@dataclass
class _Slot:
    place: str
    active: bool = False
    most: int = 0


@dataclass
class Occupancy:
    """Who trains where. Plain, so that it can be tried without Ray."""

    slots: dict[str, _Slot] = field(default_factory=dict)

    def active(self, slot: str, place: str) -> None:
        self.slots.setdefault(slot, _Slot(place=place)).active = True
        self._count(place)

    def idle(self, slot: str) -> None:
        if slot in self.slots:
            self.slots[slot].active = False
            self.slots[slot].most = 0

    def pulse(self, slot: str) -> int:
        """Most cotenants since the last pulse."""
        mine = self.slots[slot]
        most, mine.most = mine.most, self._others(mine.place)
        return most

    def _others(self, place: str) -> int:
        return sum(s.active for s in self.slots.values() if s.place == place) - 1

    def _count(self, place: str) -> None:
        others = self._others(place)
        for slot in self.slots.values():
            if slot.place == place and slot.active:
                slot.most = max(slot.most, others)


@ray.remote(num_cpus=0)
class SlotBoard:
    """One actor a search; asynchronous, so that waiting slots block nobody."""

    def __init__(self, slots: int, patience_s: float) -> None:
        self._expected = slots
        self._patience_s = patience_s
        self._up: set[str] = set()
        self._all_up = asyncio.Event()
        self._occupancy = Occupancy()
        self._draining = False

    async def arrive(self, slot: str) -> bool:
        """Wait, bounded, until all slots are up; False where some never came.

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
            return False
        return True

    async def slots_up(self) -> int:
        return len(self._up)

    async def active(self, slot: str, place: str) -> None:
        self._occupancy.active(slot, place)

    async def idle(self, slot: str) -> None:
        self._occupancy.idle(slot)

    async def pulse(self, slot: str) -> Pulse:
        return Pulse(cotenants=self._occupancy.pulse(slot), draining=self._draining)

    async def draining(self) -> bool:
        return self._draining

    async def drain(self) -> None:
        self._draining = True
        self._all_up.set()
