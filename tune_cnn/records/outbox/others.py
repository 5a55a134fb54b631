"""An outbox that was there before: it makes way for the one that comes, where no search needs it."""

import logging
import os
import signal
import time
from contextlib import suppress

from tune_cnn.records.outbox.lost import ENDED_WITHIN_S, Frozen, ask_to_end
from tune_cnn.records.store import Store

log = logging.getLogger("tune_cnn.outbox")


class Others:
    """Of one study and on this machine: one that goes on alone, is frozen, or has not renewed its hold."""

    def __init__(self, store: Store, study: str) -> None:
        self._store, self._study = store, study
        self._frozen = Frozen()
        self._asked: dict[str, float] = {}  # by mark, since when

    def end(self) -> bool:
        """Ask it to end, and kill it where it doesn't; False where there is none that should."""
        there = self._store.delivered_by(self._study)
        if there is None or not there.owner.is_here or there.owner.is_dead or there.owner.pid == os.getpid():
            return False
        owner, now_s = there.owner, time.monotonic()
        frozen = self._frozen.look(owner, now_s)
        if not (owner.mark in self._asked or there.until or frozen or not there.lives):
            return False
        if owner.mark not in self._asked:
            self._asked[owner.mark] = now_s
            why = "is frozen" if frozen else "goes on alone" if there.until else "has not renewed its hold"
            log.info("the outbox of process %d %s, and is ended", owner.pid, why)
            ask_to_end(owner.pid)
        elif now_s - self._asked[owner.mark] > ENDED_WITHIN_S:
            with suppress(ProcessLookupError):
                os.kill(owner.pid, signal.SIGKILL)
        return True
