"""The process that feeds MLflow while a search runs: `python -m tune_cnn.records.mlflow_outbox`, settings on stdin."""

import json
import logging
import os
import queue
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any, TextIO

from tune_cnn.errors import SpecError, StoreError, StudyError, TuneCnnError
from tune_cnn.records.mlflow_delivery import Delivery
from tune_cnn.records.mlflow_server import Refused, Server
from tune_cnn.records.store import Store

POLL_S = 1.0
LONGEST_BACKOFF_S = 15.0  # a server that is back is noticed within this time
REFUSALS = 3  # a proxy may refuse once by mistake; a wrong password stays wrong
ORPHANED_S = 60.0  # what an outbox may yet deliver when its search has died
log = logging.getLogger("tune_cnn.outbox")


@dataclass(frozen=True, kw_only=True)
class Settings:
    store: str
    study: str
    tracking_uri: str


class Orders:
    """What the search tells us through stdin: to finish within some seconds, or, by its end, that it has died."""

    def __init__(self, stdin: TextIO) -> None:
        self._lines: queue.Queue[str] = queue.Queue()
        self._parent = os.getppid()
        self.orphaned = False
        self.deadline_s: float | None = None  # on the monotonic clock; None: as long as the search runs
        threading.Thread(target=self._read, args=(stdin,), daemon=True).start()

    def wait(self, seconds: float) -> None:
        """Until something is said, at most so long."""
        try:
            line = self._lines.get(timeout=max(0.0, seconds))
        except queue.Empty:
            if os.getppid() == self._parent or self.orphaned:
                return
            line = ""
        if line:
            self.deadline_s = time.monotonic() + float(json.loads(line)["finish_s"])
        elif not self.orphaned:
            self.orphaned = self.deadline_s is None
            self.deadline_s = self.deadline_s or time.monotonic() + ORPHANED_S

    @property
    def finishing(self) -> bool:
        return self.deadline_s is not None

    @property
    def late(self) -> bool:
        return self.deadline_s is not None and time.monotonic() >= self.deadline_s

    def _read(self, stdin: TextIO) -> None:
        for line in stdin:
            self._lines.put(line)
        self._lines.put("")


def run(settings: Settings, orders: Orders) -> None:
    """Deliver until told to finish, patiently; returns when nothing waits, or time is up."""
    store = Store(settings.store)
    failures = refusals = 0
    while not orders.late:
        try:
            with store.lease(settings.study, role="outbox"):
                deliver(store, settings, orders, retried=failures > 0)
            return
        except StoreError as error:  # can't be written into the store either
            failures += 1
            log.error("%s", error)
        except StudyError as error:  # another outbox is at it, whose search died, or a `sync`: ours comes after it
            failures += 1
            log.warning("%s", error)
            if store.study(settings.study) is None:
                return
        except (Refused, SpecError) as error:
            failures += 1
            refusals += 1
            say(store, settings.study, str(error))
        except TuneCnnError as error:
            failures += 1
            say(store, settings.study, str(error))
        if refusals >= REFUSALS:
            wait_for_the_end(orders)
            return
        pause(orders, min(LONGEST_BACKOFF_S, 2.0 ** min(failures - 1, 10)))


def deliver(store: Store, settings: Settings, orders: Orders, *, retried: bool) -> None:
    """Over one connection, until told to finish and done; raises where the server fails."""
    server = Server(settings.tracking_uri)
    delivery = Delivery(store, settings.study, server, orphaned=orders.orphaned, retried=retried)
    told_error = True
    while not orders.late:
        count = delivery.deliver()
        if told_error:
            store.set_delivery_error(settings.study, None)
            told_error = False
        if count:
            log.info("delivered %d changes", count)
            orders.wait(0.0)
            continue
        if orders.finishing:
            delivery.orphaned = orders.orphaned
            delivery.settle(ended=True)
            if not store.pending(settings.study):
                return
            continue
        delivery.settle(ended=False)
        orders.wait(POLL_S)


def say(store: Store, study: str, error: str) -> None:
    """For the live display and `status`, and for the log."""
    log.warning("%s", error)
    try:
        store.set_delivery_error(study, error)
    except TuneCnnError as second:
        log.error("%s", second)


def pause(orders: Orders, seconds: float) -> None:
    """Before the next try; an order to finish cuts it short, once: then it is tried at once."""
    until_s = time.monotonic() + seconds
    was_finishing = orders.finishing
    while time.monotonic() < until_s and not orders.late and orders.finishing == was_finishing:
        orders.wait(min(POLL_S, until_s - time.monotonic()))


def wait_for_the_end(orders: Orders) -> None:
    while not orders.finishing:
        orders.wait(POLL_S)


def main() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    first: dict[str, Any] = json.loads(sys.stdin.readline() or "{}")
    if not first:
        return  # the search died before it could say what to do
    settings = Settings(**first)
    run(settings, Orders(sys.stdin))


if __name__ == "__main__":
    main()
