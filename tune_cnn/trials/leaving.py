"""A slot that takes no trial any more: how it learns of it, and how it says so."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

log = logging.getLogger(__name__)

CHECKPOINT_S = 10.0  # what a checkpoint to a network's storage may take, of a node that is going


class SlotLeft(Exception):
    """Raised out of a slot's step, so that Tune ends the process. Its trial goes on elsewhere; nothing has failed."""

    def __init__(self, why: str, nodes: Sequence[str]) -> None:
        super().__init__(why, tuple(nodes))

    def __str__(self) -> str:
        return str(self.args[0])

    @property
    def nodes(self) -> tuple[str, ...]:
        """Those that the trial was on."""
        nodes: tuple[str, ...] = self.args[1]
        return nodes


class Notice:
    """Hears in a thread that a node of this slot's is going, and has the epoch left where it would end too late."""

    def __init__(self, wait: Callable[[], float], leave: Callable[[], None] | None) -> None:
        """`wait` returns when a node is going, with the time until which it is up (seconds since 1970, 0: nobody said).

        `leave` has the training write a checkpoint at its next step and leave the epoch; None: it can't.
        """
        self._wait, self._leave = wait, leave
        self.is_given = False
        self._until_s = 0.0
        self._began_s: float | None = None  # the epoch that is being trained, on the monotonic clock
        self._took_s: float | None = None  # the last whole epoch
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._listen, name="notice", daemon=True)
        self._thread.start()

    @contextmanager
    def epoch(self) -> Iterator[None]:
        """While an epoch is trained."""
        with self._lock:
            self._began_s = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._took_s, self._began_s = time.monotonic() - self._began_s, None

    def forget_epochs(self) -> None:
        """Another trial begins, whose epochs take what they take."""
        self._took_s = None

    def _listen(self) -> None:
        try:
            self._until_s = self._wait()
        except Exception as error:  # the search has ended, and its coordinator with it
            log.debug("no notice will come: %s", error)
            return
        with self._lock:
            self.is_given = True
            if (
                self._leave is not None
                and self._began_s is not None
                and self._is_late(time.monotonic() - self._began_s)
            ):
                self._leave()

    def _is_late(self, trained_s: float) -> bool:
        """Whether the epoch, trained for so long, would end after the node, or too close to it for a checkpoint."""
        if not self._until_s:
            return False
        left_s = self._until_s - time.time() - CHECKPOINT_S
        return self._took_s is None or self._took_s - trained_s > left_s
