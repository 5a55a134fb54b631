"""The process that feeds MLflow while a search runs: `python -m tune_cnn.records.outbox.process`, settings on stdin."""

import json
import logging
import os
import queue
import sys
import threading
import time
from dataclasses import dataclass
from typing import TextIO

from tune_cnn.errors import SpecError, StoreError, StudyError, TuneCnnError
from tune_cnn.records.mlflow.client import Foreign, NotMlflow, Refused, Server
from tune_cnn.records.outbox.delivery import Delivery
from tune_cnn.records.outbox.handle import REFUSED, TAKEN
from tune_cnn.records.store import Store
from tune_cnn.untyped import Plain

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
    alone: bool = False  # for `sync`: beside no search, so what stands as running was killed


class Orders:
    """What the search orders through stdin: to finish within some seconds, or, by its end, that it has died."""

    def __init__(self, stdin: TextIO) -> None:
        self._lines: queue.Queue[str] = queue.Queue()
        self._parent = os.getppid()
        self.orphaned = False
        self.deadline_s: float | None = None  # on the clock; None: as long as the search runs
        threading.Thread(target=self._read, args=(stdin,), daemon=True).start()

    def clock(self) -> float:
        """The outbox's own time, in seconds."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Until an order comes, at most so long."""
        try:
            line = self._lines.get(timeout=max(0.0, seconds))
        except queue.Empty:
            if os.getppid() == self._parent or self.orphaned:
                return
            line = ""
        if line:
            self.deadline_s = self.clock() + float(json.loads(line)["finish_s"])
        elif not self.orphaned:
            self.orphaned = self.deadline_s is None
            self.deadline_s = self.deadline_s or self.clock() + ORPHANED_S

    @property
    def finishing(self) -> bool:
        return self.deadline_s is not None

    @property
    def late(self) -> bool:
        return self.deadline_s is not None and self.clock() >= self.deadline_s

    def _read(self, stdin: TextIO) -> None:
        for line in stdin:
            self._lines.put(line)
        self._lines.put("")


class Trouble:
    """How often in a row it failed: whether to try again, and when."""

    def __init__(self) -> None:
        self._failures = 0
        self._refusals = 0
        self.ever = False  # requests of a connection that failed may yet be under way
        self._ever_delivered = False

    def over(self) -> None:
        """The server took something."""
        self._failures = self._refusals = 0
        self._ever_delivered = True

    def met(self, error: TuneCnnError) -> None:
        self.ever = True
        self._failures += 1
        # What was MLflow before will be it again: a page that a proxy shows while the server is away.
        passing = isinstance(error, NotMlflow) and self._ever_delivered
        if isinstance(error, Refused | SpecError) and not passing:
            self._refusals += 1

    @property
    def hopeless(self) -> bool:
        return self._refusals >= REFUSALS

    @property
    def backoff_s(self) -> float:
        return min(LONGEST_BACKOFF_S, 2.0 ** min(max(self._failures - 1, 0), 10))


def run(settings: Settings, orders: Orders) -> int:
    """Deliver until asked to finish, patiently; returns when nothing waits, or time is up: the exit code."""
    store = Store(settings.store)
    trouble = Trouble()
    while not orders.late:
        try:
            with store.lease(settings.study, role="outbox"):
                deliver(store, settings, orders, trouble)
            return 0
        except StoreError as error:  # can't be written into the store either
            trouble.met(error)
            log.error("%s", error)
        except StudyError as error:  # another outbox is at it, whose search died, or a `sync`: ours comes after it
            trouble.met(error)
            log.warning("%s", error)
            if store.study(settings.study) is None:
                return 0
        except Foreign as error:  # the search ends at once: all that it trains would reach nobody
            report(store, settings.study, str(error))
            return TAKEN
        except TuneCnnError as error:
            trouble.met(error)
            report(store, settings.study, str(error))
        if trouble.hopeless:
            wait_for_the_end(orders)
            return REFUSED
        pause(orders, trouble.backoff_s)
    return 0


def deliver(store: Store, settings: Settings, orders: Orders, trouble: Trouble) -> None:
    """Over one connection, until asked to finish and done; raises where the server fails."""

    def orphaned() -> bool:
        return orders.orphaned or (settings.alone and not store.in_work(settings.study))

    server = Server(settings.tracking_uri)
    delivery = Delivery(store, settings.study, server, orphaned=orphaned(), retried=trouble.ever, clock=orders.clock)
    error_stands = True
    while not orders.late:
        try:
            count = delivery.deliver()
        finally:
            if delivery.moved:  # a server that fails now and then is slow, not away
                trouble.over()
        trouble.over()
        if error_stands:
            store.set_delivery_error(settings.study, None)
            error_stands = False
        if count:
            log.info("delivered %d changes", count)
            orders.wait(0.0)
            continue
        if orders.finishing:
            delivery.orphaned = orphaned()
            delivery.settle(ended=True)
            if not store.pending(settings.study):
                return
            continue
        delivery.settle(ended=False)
        orders.wait(POLL_S)


def report(store: Store, study: str, error: str) -> None:
    """For the live display and `status`, and for the log."""
    log.warning("%s", error)
    try:
        store.set_delivery_error(study, error)
    except TuneCnnError as second:
        log.error("%s", second)


def pause(orders: Orders, seconds: float) -> None:
    """Before the next try; an order to finish cuts it short, once: then it is tried at once."""
    until_s = orders.clock() + seconds
    was_finishing = orders.finishing
    while orders.clock() < until_s and not orders.late and orders.finishing == was_finishing:
        orders.wait(min(POLL_S, until_s - orders.clock()))


def wait_for_the_end(orders: Orders) -> None:
    while not orders.finishing:
        orders.wait(POLL_S)


def main() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    first: dict[str, Plain] = json.loads(sys.stdin.readline() or "{}")
    if not first:
        return  # the search died before it wrote what to do
    settings = Settings(**first)
    code = run(settings, Orders(sys.stdin))
    logging.shutdown()
    os._exit(code)  # what imported libraries do as they end takes seconds at this priority, and the search waits


if __name__ == "__main__":
    main()
