"""A thread that samples meters while a stretch of training runs, at a bounded cost."""

import threading
import time
from collections.abc import Callable

PERIOD_S = 0.1
CPU_SHARE = 1 / 1000  # of one core: after a sampling that took 1 ms the thread rests for 1 s


class Sampler:
    """Calls `sample` from a thread of its own between `start` and `stop`; between stretches there is no thread."""

    def __init__(self, sample: Callable[[], None]) -> None:
        self._sample = sample
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        assert self._thread is None
        self._stopped.clear()
        self._thread = threading.Thread(target=self._run, name="tune-cnn-meters", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Wait for a sampling under way, so what it wrote can be read."""
        if self._thread is not None:
            self._stopped.set()
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        rest_s = PERIOD_S
        while not self._stopped.wait(rest_s):
            before_s = time.thread_time()
            self._sample()
            rest_s = max(PERIOD_S, (time.thread_time() - before_s) / CPU_SHARE)
