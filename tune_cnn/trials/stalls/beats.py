"""A rank's beats: a thread of its process tells the coordinator, every few seconds, what the rank does and whether it
moves."""

import logging
import os
import platform
import threading
from collections.abc import Callable
from functools import cache

from tune_cnn.training.progress import PROGRESS
from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.trials.stalls.node_processes import born, write_stacks_on_signal
from tune_cnn.trials.stalls.stalls import BEAT_S, Beat, Process
from tune_cnn.untyped import Untyped

import ray  # isort: skip
from ray.exceptions import RayError

log = logging.getLogger(__name__)
UNANSWERED_S = 30.0  # then a beat is taken for lost, and another one is sent


@cache
def this_process() -> Process:
    """The process of this rank, which from now on shows its stacks when it is asked to."""
    node = ray.get_runtime_context().get_node_id()
    pid = os.getpid()
    return Process(node=node, host=platform.node(), pid=pid, born=born(pid), stacks_fd=write_stacks_on_signal())


class Beats:
    """Tells of this process's rank until it is stopped, or the process ends or is frozen."""

    def __init__(
        self, coordinator: Untyped, slot: str, *, rank: int, ranks: int, trial: Callable[[], int | None] = lambda: None
    ) -> None:
        self._coordinator = coordinator
        self._slot, self._rank, self._ranks, self._trial = slot, rank, ranks, trial
        self._process = this_process()
        self._stopped = threading.Event()
        threading.Thread(target=self._tell, name="beats", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _tell(self) -> None:
        every_s = BEAT_S
        while not self._stopped.is_set():
            try:
                every_s = self._told(every_s)
            except RayError as error:  # the driver's side sees to the coordinator; a beat too few is none of ours
                log.debug("a beat was not told: %s", error)
                self._stopped.wait(every_s)

    def _told(self, every_s: float) -> float:
        """Tell once, and wait until it is time for the next; how long that is, by the coordinator's answer.

        Never two at a time: they would pile up before a coordinator that is frozen.
        """
        beat = Beat(
            slot=self._slot,
            trial=self._trial(),
            rank=self._rank,
            ranks=self._ranks,
            process=self._process,
            moved=PROGRESS.now(),
        )
        ref = self._coordinator.beat.remote(beat)
        self._stopped.wait(every_s)
        answered, _ = ray.wait([ref], timeout=UNANSWERED_S)
        return float(ray.get(ref, timeout=UNANSWERED_S)) if answered else every_s
