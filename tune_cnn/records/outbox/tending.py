"""A search's eye on its outbox: one that is lost is replaced, while the search trains."""

import threading
import time
from collections.abc import Callable, Set

from tune_cnn.errors import TuneCnnError
from tune_cnn.owner import Owner
from tune_cnn.records.outbox.lost import FROZEN_S, GAP_S, STILL_S, Frozen, Still

LOOK_S = 1.0
TRIES = 5  # in a row, each of which lasted less than LASTED_S: what ends at once so often does so for ever
LASTED_S = 600.0
WAIT_S = 5.0  # before the second of them, and twice as long before each further one


class Looks:
    """At one outbox."""

    def __init__(self) -> None:
        self._frozen, self._still = Frozen(), Still()
        self._asked_s = float("-inf")

    def at(self, owner: Owner, waiting: Callable[[], Set[int]]) -> str | None:
        """How it is lost, in words; None where it isn't. `waiting`: the ids of changes, the oldest at least; asked for
        now and then, as that costs more than a look."""
        now_s = time.monotonic()
        if self._frozen.look(owner, now_s):
            return f"was frozen for {FROZEN_S:.0f} s"
        if now_s - self._asked_s < GAP_S:
            return None
        self._asked_s = now_s
        return f"had taken no change for {STILL_S / 60:.0f} min" if self._still.look(waiting(), now_s) else None


class Tending:
    """In a thread, from `start` until `end`."""

    def __init__(
        self, look: Callable[[Looks], str | None], replace: Callable[[], None], say: Callable[[str], object]
    ) -> None:
        """`look`: how the outbox is lost, None where it is not; `replace`: end it and start another one."""
        self._look, self._replace, self._say = look, replace, say
        self._looks, self._tries = Looks(), 0
        self._since_s = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tend, name="outbox", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self, *, within_s: float) -> None:
        """No outbox is replaced any more, once this returns in time."""
        self._over.set()
        self._thread.join(within_s)

    @property
    def is_over(self) -> bool:
        return self._over.is_set() or self._tries >= TRIES

    def _tend(self) -> None:
        while not self._over.wait(LOOK_S) and not self.is_over:
            try:
                self._once()
            except TuneCnnError:  # the store is away, or no process can be started now: at the next look
                continue

    def _once(self) -> None:
        lasted_s = time.monotonic() - self._since_s
        if lasted_s > LASTED_S:
            self._tries = 0
        why = self._look(self._looks)
        if why is None or (self._tries and lasted_s < WAIT_S * 2 ** (self._tries - 1)):
            return
        self._tries, self._since_s, self._looks = self._tries + 1, time.monotonic(), Looks()
        self._replace()
        self._say(f"the process that delivers to MLflow {why}: another one has taken its place")
