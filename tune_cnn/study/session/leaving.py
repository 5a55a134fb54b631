"""Where Ray doesn't answer any more: what is still done before this process ends, as nothing can wake its main thread.

Tune's loop, and Ray's own shutdown, may wait for Ray in compiled code for ever.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tune_cnn.errors import Interrupted, TuneCnnError
from tune_cnn.study.hints import again
from tune_cnn.study.session.signals import interrupted
from tune_cnn.text import printable
from tune_cnn.trials.stalls.watch import Silence, Watch, watched

STEP_S = 10.0  # for one of the last steps: a commit takes milliseconds, unless the disk hangs too
END_S = 60.0  # for Ray's own end, which takes seconds
KEPT = "What was stored is kept, and the same command goes on from there: "
AT_ONCE_S = 2.0  # the same, for a user who doesn't want to wait


class Leaving:
    """The watch over Ray while a search is on it, and the steps of an end that Ray has no part in."""

    def __init__(self) -> None:
        self._steps: list[Callable[[], object]] = []
        self.clear_screen: Callable[[], object] = lambda: None  # before the last words
        self._watch: Watch | None = None
        self._is_hurried = False
        self._lock = threading.Lock()
        self._last = threading.Timer(END_S, lambda: None)

    def first(self, step: Callable[[], object]) -> None:
        """Do this before the steps that are known already; each in a thread of its own, with a bound."""
        self._steps.insert(0, step)

    def unheard(self, signals: int) -> None:
        """The user's signals reach nobody: the main thread waits in a call of Ray's."""
        if signals > 1:
            self._is_hurried = True
            self._leave(interrupted(), step_s=AT_ONCE_S)
        _say("Ending where Ray answers within seconds, and without it else. Ctrl-C again ends at once.")
        self.hurry()

    def hurry(self) -> None:
        """The user wants to stop: Ray's silence is borne for seconds now, and said."""
        self._is_hurried = True
        if self._watch is not None:
            self._watch.hurry()

    @contextmanager
    def without_ray(self) -> Iterator[None]:
        """What Ray has no part in is done though it is silent."""
        if self._watch is None:
            yield
            return
        with self._watch.paused():
            yield

    @contextmanager
    def watching(self, address: str | None, say: Callable[[str], None]) -> Iterator[None]:
        """Watch the Ray that is connected."""
        with watched(address, say=say, lost=lambda silence, seconds: self._leave(lost(silence, seconds, address))) as w:
            self._watch = w
            try:
                yield
            finally:
                self._watch = None
                self._last.start()

    @contextmanager
    def bounded_end(self) -> Iterator[None]:
        """Around Ray's connection: once `watching` is over, Ray is left within a bound, or this process ends."""
        left = threading.Timer(END_S, self._leave, [f"Error: Ray has not ended within {END_S:.0f} s. {KEPT}{again()}"])
        left.daemon = True
        self._last = left
        try:
            yield
        finally:
            left.cancel()

    def _leave(self, message: str, *, step_s: float = STEP_S) -> None:
        with self._lock:  # the watch and a signal may come to it at the same time
            _within(step_s, self.clear_screen)
            _within(step_s, lambda: _say(message))  # first: Ray may end this process meanwhile
            for step in self._steps:
                _within(step_s, step)
            _within(step_s, sys.stdout.flush)
            # The guardian ends what this process has started.
            os._exit((Interrupted if self._is_hurried else TuneCnnError).exit_code)


def lost(silence: Silence, silent_s: float, address: str | None) -> str:
    """The message of such an end."""
    todo = "" if address is None else "start the cluster again where it is gone (`ray start --head`), then "
    return (
        f"Error: {silence.what} has not answered for {silent_s:.0f} s: it is stopped, dead, or cut off. {KEPT}"
        f"{todo}{again()}"
    )


def _within(bound_s: float, step: Callable[[], object]) -> None:
    thread = threading.Thread(target=_tried, args=(step,), daemon=True)
    thread.start()
    thread.join(bound_s)


def _tried(step: Callable[[], object]) -> None:
    try:
        step()
    except Exception as error:
        _say(str(error))


def _say(text: str) -> None:
    with suppress(OSError, ValueError):  # the terminal may be gone
        sys.stderr.write(printable(text, keep="\n") + "\n")
        sys.stderr.flush()
