"""A slot that takes no trial any more: how it learns of it, and how it says so."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

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
    """Hears in a thread that a node of this slot's is going, and has the training leave an epoch that ends too late."""

    def __init__(self, wait: Callable[[], float], leave: Callable[..., None]) -> None:
        """`wait` returns when a node is going, with the time until which it is up (seconds since 1970, 0: nobody said).

        `leave(within_s=…)` has the training write a checkpoint and leave, after the epoch if that ends within so many
        seconds.
        """
        self._wait, self._leave = wait, leave
        self._until_s: float | None = None  # None: no node is going
        threading.Thread(target=self._listen, name="notice", daemon=True).start()

    @property
    def is_given(self) -> bool:
        return self._until_s is not None

    def tell(self) -> None:
        """Tell the training of the notice, if there was one: again for each trial, which forgets what came before.

        A node of which nobody said until when it is up waits for the epoch's end.
        """
        if self._until_s:
            self._leave(within_s=max(0.0, self._until_s - time.time() - CHECKPOINT_S))

    def _listen(self) -> None:
        try:
            self._until_s = self._wait()
        except Exception as error:  # the search has ended, and its coordinator with it
            log.debug("no notice will come: %s", error)
            return
        self.tell()
