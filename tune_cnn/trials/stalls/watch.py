"""The driver's watch over Ray: what doesn't answer is said, and ends the search where it stays away.

Tune's loop may wait in a call of Ray's for ever, so the watch is a thread that asks by calls with a bound of their own.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tune_cnn.trials import ray_settings  # noqa: F401  (before ray)
from tune_cnn.untyped import Untyped

from ray._private import worker  # isort: skip  # private: the driver's own connections
from ray._raylet import RayletClient  # type: ignore[attr-defined]  # isort: skip  # Ray's own agents ask by it

TICK_S = 2.0
ASKED_S = 5.0  # for one answer, which takes milliseconds: a machine that is busy may need seconds
HURRIED_S = 10.0  # of silence, once the user wants to stop


@dataclass(frozen=True, kw_only=True)
class Silence:
    """What doesn't answer, and how long that is borne."""

    what: str
    said_after_s: float
    ends_after_s: float


def silent(what: str) -> Silence:
    """Nothing comes back: a process that is stopped or overwhelmed, a network that is cut."""
    return Silence(what=what, said_after_s=30.0, ends_after_s=120.0)


def refused(what: str) -> Silence:
    """Nobody listens any more. A head with a store of its own may be started again, and Ray waits 60 s for one."""
    return Silence(what=what, said_after_s=5.0, ends_after_s=60.0)


def gone(what: str) -> Silence:
    """It will not come back; what Ray still does with this process takes seconds too, and says nothing."""
    return Silence(what=what, said_after_s=0.0, ends_after_s=TICK_S)


class Patience:
    """How long something has been silent, counted in looks of our own: a driver that was stopped itself (a laptop's
    lid, a debugger) has not waited."""

    def __init__(self) -> None:
        self.silence: Silence | None = None
        self.silent_s = 0.0
        self.hurried = False
        self._is_said = False

    def look(self, silence: Silence | None, since_last_s: float) -> str | None:
        """Take a look's outcome; what to tell the user now."""
        self.silence = silence
        if silence is None:
            was_said, self._is_said, self.silent_s = self._is_said, False, 0.0
            return "Ray answers again" if was_said else None
        self.silent_s += min(since_last_s, TICK_S + 2 * ASKED_S)
        if self._is_said or self.is_over or self.silent_s < silence.said_after_s:
            return None
        self._is_said = True
        return f"{silence.what} has not answered for {self.silent_s:.0f} s; the search ends {self._when}"

    def hurry(self) -> str | None:
        """The user wants to stop: what to tell, where Ray doesn't answer."""
        self.hurried = True
        if self.silence is None:
            return None
        self._is_said = True
        return f"{self.silence.what} has not answered for {self.silent_s:.0f} s, so this ends {self._when}"

    @property
    def is_over(self) -> bool:
        return self.silence is not None and self._left_s <= 0

    @property
    def _when(self) -> str:
        return f"within {max(0.0, self._left_s) + TICK_S + ASKED_S:.0f} s if it stays so"

    @property
    def _left_s(self) -> float:
        assert self.silence is not None
        bound_s = self.silence.ends_after_s
        return (min(bound_s, HURRIED_S) if self.hurried else bound_s) - self.silent_s


class Watch:
    """Looks every other second, in a thread of its own."""

    def __init__(
        self, ask: Callable[[], Silence | None], say: Callable[[str], None], lost: Callable[[Silence, float], None]
    ) -> None:
        """`lost` gets what stays silent, and for how many seconds it has; called once, in the watch's thread."""
        self._ask, self._say, self._lost = ask, say, lost
        self._patience = Patience()
        self._is_paused = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="ray-watch", daemon=True)

    def hurry(self) -> None:
        """The user wants to stop; may be called in a signal handler."""
        line = self._patience.hurry()
        if line is not None:
            self._say(line)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Don't mind a silence meanwhile."""
        self._is_paused = True
        try:
            yield
        finally:
            self._is_paused = False

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ended.set()

    def _look(self) -> None:
        last_s = time.monotonic()
        while not self._ended.wait(TICK_S):
            silence = None if self._is_paused else self._ask()
            if self._ended.is_set():
                return
            if self._is_paused:
                silence = None
            now_s = time.monotonic()
            line = self._patience.look(silence, now_s - last_s)
            last_s = now_s
            if line is not None:
                with suppress(Exception):  # a terminal that is gone must not end the watch
                    self._say(line)
            if silence is not None and self._patience.is_over:
                self._lost(silence, self._patience.silent_s)
                return


@contextmanager
def watched(
    address: str | None, *, say: Callable[[str], None], lost: Callable[[Silence, float], None]
) -> Iterator[Watch]:
    """Watch the Ray that this process has joined (`address`) or started; `say` and `lost` as for `Watch`."""
    watch = Watch(_Asker(address).ask, say, lost)
    watch.start()
    try:
        yield watch
    finally:
        watch.end()


class _Asker:
    """Asks the head's GCS and this node's raylet, each with a bound."""

    def __init__(self, address: str | None) -> None:
        connection: Untyped = worker.global_worker
        node: Untyped = connection.node
        self._gcs: Untyped = connection.gcs_client
        self._raylet = node.node_ip_address, node.node_manager_port
        self._socket: str = node.raylet_socket_name
        at = self._gcs.address
        self._head = "this machine's Ray (its GCS)" if address is None else f"the head of the Ray cluster at {at}"
        self._here = "this machine's raylet"

    def ask(self) -> Silence | None:
        return self._ask_head() or self._ask_raylet()

    def _ask_head(self) -> Silence | None:
        try:
            self._gcs.check_alive([], timeout=ASKED_S)
        except Exception:  # Ray's own errors of all kinds: what they have in common is that no answer came
            host, _, port = self._gcs.address.rpartition(":")
            return refused(self._head) if _refuses((host.strip("[]"), int(port))) else silent(self._head)
        return None

    def _ask_raylet(self) -> Silence | None:
        if _refuses(self._socket):
            return gone(self._here)

        async def agents() -> Untyped:
            client = RayletClient(*self._raylet)  # kept until it has answered: what it asked would go with it
            return await asyncio.wait_for(client.async_get_agent_pids(round(ASKED_S * 1000)), ASKED_S + 1)

        try:
            asyncio.run(agents())
        except Exception:  # as above
            return silent(self._here)
        return None


def _refuses(address: str | tuple[str, int]) -> bool:
    """Whether nobody listens there for certain."""
    try:
        if isinstance(address, str):
            with socket.socket(socket.AF_UNIX) as unix:
                unix.settimeout(ASKED_S)
                unix.connect(address)
        else:
            socket.create_connection(address, timeout=ASKED_S).close()
    except ConnectionRefusedError:  # not where its file is missing: who tidies up a temporary folder ends no raylet
        return True
    except OSError:
        return False
    return False
