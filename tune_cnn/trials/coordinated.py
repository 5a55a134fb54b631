"""The slots' coordinator from the driver's side: what it is told, and told again where its process was made anew."""

import logging
from collections.abc import Collection, Mapping

from tune_cnn.errors import TuneCnnError
from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.trials.coordinator import MOST_CALLS, SlotCoordinator
from tune_cnn.trials.stalls.stalls_heard import StallsHeard
from tune_cnn.untyped import Plain, Untyped

import ray  # isort: skip
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

log = logging.getLogger(__name__)

ANSWER_S = 5.0  # longest wait of Tune's loop, where a trial was lost: an answer on the driver's own node takes 2 ms


class Coordinator:
    """Waits for nothing but where a lost trial was, and why."""

    def __init__(
        self, slots: int, patience_s: float, *, stall_timeout_s: float | None = None, stalls_folder: str | None = None
    ) -> None:
        """On the driver's own node: Ray puts an actor without CPUs on any, and the search would end with that one."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options = SlotCoordinator.options(max_concurrency=MOST_CALLS, scheduling_strategy=here)  # type: ignore[attr-defined]  # Ray's decorator adds it
        self.actor: Untyped = options.remote(slots, patience_s, stall_timeout_s)  # what the slots call
        self._stalls = StallsHeard(self.actor, stalls_folder, revived=self._tell_again)
        self._assigned: dict[str, dict[str, Plain] | None] = {}  # what the slots that were starting were told
        self._off: tuple[dict[str, float], tuple[str, ...]] = ({}, ())
        self._is_draining = False

    @property
    def lost(self) -> TuneCnnError | None:
        """Set once it can't be brought back to answer."""
        return self._stalls.lost

    def tick(self) -> None:
        """Called ten times a second or so, in Tune's loop."""
        self._stalls.tick()

    def assign(self, slot: str, config: dict[str, Plain] | None) -> None:
        self._assigned[slot] = config
        self.actor.assign.remote(slot, config)

    def expect(self, slots: int) -> None:
        self.actor.expect.remote(slots)

    def keep_off(self, going: Mapping[str, float], aside: Collection[str]) -> None:
        """These nodes take no trials; those that are going, until when (0: nobody said), have theirs leave."""
        self._off = dict(going), tuple(aside)
        self.actor.keep_off.remote(*self._off)

    def idle(self, trial: int) -> None:
        """A trial has left its slot."""
        self.actor.left.remote(trial)

    def left(self, trial: int) -> tuple[str, ...]:
        """The same, and the nodes on which it had begun; none where it had not."""
        try:
            nodes: tuple[str, ...] = ray.get(self.actor.left.remote(trial), timeout=ANSWER_S)
        except RayError as error:  # its timeout too
            log.debug("where trial %s was is not known: %s", trial, error)
            return ()
        return nodes

    def stalled(self, trial: int) -> str | None:
        """Why the trial's processes were ended, where that was for standing still. A second time it is forgotten."""
        return self._stalls.why(trial)

    def drain(self) -> None:
        self._is_draining = True
        self.actor.drain.remote()

    def end(self) -> None:
        ray.kill(self.actor)

    def _tell_again(self) -> None:
        """Its process was made anew."""
        for slot, config in self._assigned.items():
            self.actor.assign.remote(slot, config)
        self.actor.keep_off.remote(*self._off)
        if self._is_draining:
            self.actor.drain.remote()
