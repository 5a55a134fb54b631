"""A process that ends when its parent does, also when that was killed outright."""

import os
import signal
import threading
import time
from multiprocessing import parent_process

LOOK_EVERY_S = 0.5
PATIENCE_S = 20  # for requests under way


def stop_with(parent: int) -> None:
    """Watch from a thread; the parent gone, this process stops as on SIGTERM, and at the latest after PATIENCE_S."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_EVERY_S)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE_S)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def stop_with_supervisor() -> None:
    """For one of several workers: end with the process that started it."""
    supervisor = parent_process()
    if supervisor is not None and supervisor.pid is not None:
        stop_with(supervisor.pid)
